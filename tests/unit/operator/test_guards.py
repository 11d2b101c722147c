"""No pod is made before its NetworkPolicy guards it."""

from __future__ import annotations

from typing import Any

import pytest

from mlflow_model_operator.api import names
from mlflow_model_operator.api.resource import Key
from mlflow_model_operator.apply import Applier
from mlflow_model_operator.kube.cache import Cache
from mlflow_model_operator.kube.client import ApiError
from mlflow_model_operator.kube.kinds import Kind
from mlflow_model_operator.plan import Change, Changes
from mlflow_model_operator.plan.changes import MISSING

Json = dict[str, Any]


class Api:
    """An API server that refuses NetworkPolicies, or doesn't."""

    def __init__(self, refuses: bool) -> None:
        self.refuses = refuses
        self.applied: list[str] = []

    async def get(self, kind: Kind, namespace: str, name: str) -> Json | None:
        return None

    async def apply(self, kind: Kind, obj: Json) -> Json:
        if self.refuses and kind.kind == "NetworkPolicy":
            raise ApiError(403, "Forbidden", "no policies here")
        self.applied.append(kind.kind)
        metadata = {**obj["metadata"], "uid": kind.kind, "resourceVersion": "1"}
        return {**obj, "metadata": metadata}


def missing(kind: str) -> Change:
    metadata = {
        "namespace": "models",
        "name": "wine",
        "labels": {names.DEPLOYMENT: "wine"},
        "ownerReferences": [{"kind": names.KIND, "name": "wine", "uid": "u"}],
    }
    return Change({"kind": kind, "metadata": metadata, "spec": {}}, MISSING)


def changes(*kinds: str) -> Changes:
    rest: Json = {name: [] for name in Changes.__dataclass_fields__}
    return Changes(**{**rest, "apply": [missing(kind) for kind in kinds], "scale": None})


@pytest.mark.parametrize("refuses", [True, False])
async def test_a_refused_policy_keeps_everything_else_from_being_made(refuses: bool) -> None:
    api = Api(refuses)
    applier = Applier(api, Cache())  # type: ignore[arg-type]

    desired = changes("Deployment", "NetworkPolicy")
    failures = await applier.apply(Key("models", "wine"), desired, foreign=frozenset())

    assert api.applied == ([] if refuses else ["NetworkPolicy", "Deployment"])
    assert [failure.kind for failure in failures] == (["NetworkPolicy"] if refuses else [])
