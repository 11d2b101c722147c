"""What a cluster of Kubernetes 1.37.2 really showed when the end-to-end tests provoked failures.

`recorded.jsonl` has one failure a line: the reason to report, the spec, and one after the other the
states of one object (ended, waiting for the next start, starting).
"""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from mlflow_model_operator.status.diagnosis import diagnose
from tests.unit.operator.status.pods import V3, Json, decision, deployment, resource, snapshot

RECORDED = [
    json.loads(line) for line in Path(__file__).with_name("recorded.jsonl").open(encoding="utf-8")
]


@pytest.mark.parametrize(
    "failure",
    RECORDED,
    ids=[f"{index}-{failure['reason']}" for index, failure in enumerate(RECORDED)],
)
def test_a_failure_has_the_same_message_for_as_long_as_it_lasts(failure: Json) -> None:
    diagnoses = set()
    for state in failure["states"]:
        objects = [state] if state["kind"] == "Deployment" else [deployment(V3), state]
        of = resource(**failure["spec"])
        diagnoses.add(diagnose(snapshot(decision(), *objects, of=of), V3))
    (only,) = diagnoses
    assert only is not None
    assert only.reason == failure["reason"]
