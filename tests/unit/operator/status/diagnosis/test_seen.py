"""What a cluster of Kubernetes 1.37.2 really showed when the end-to-end tests provoked failures.

`seen.jsonl` has one failure a line: the reason to tell, the spec, and one after the other the
states of one object (ended, waiting for the next start, starting).
"""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from mlflow_model_operator.status.diagnosis import diagnose
from tests.unit.operator.status.pods import V3, Json, decision, deployment, resource, snapshot

SEEN = [json.loads(line) for line in Path(__file__).with_name("seen.jsonl").open(encoding="utf-8")]


@pytest.mark.parametrize(
    "failure", SEEN, ids=[f"{index}-{one['reason']}" for index, one in enumerate(SEEN)]
)
def test_a_failure_is_told_in_the_same_words_for_as_long_as_it_lasts(failure: Json) -> None:
    told = set()
    for state in failure["seen"]:
        objects = [state] if state["kind"] == "Deployment" else [deployment(V3), state]
        told.add(diagnose(snapshot(decision(), *objects, of=resource(**failure["spec"])), V3))
    (only,) = told
    assert only is not None
    assert only.reason == failure["reason"]
