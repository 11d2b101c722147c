"""Each folder holds a resource and the objects that it becomes.

`python -m tests.golden.test_golden` writes the outputs; read the difference before committing.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml

from mlflow_model_operator.api.model_version import ModelVersion
from mlflow_model_operator.api.resource import MLflowModelDeployment
from mlflow_model_operator.kube.objects import LiveChildren
from mlflow_model_operator.plan import Resolution, RevisionNames, desired_objects, make_plan
from mlflow_model_operator.settings import Settings

FOLDER = Path(__file__).parent
CASES = sorted(path.parent.name for path in FOLDER.glob("*/input.yaml"))
SETTINGS = Settings(
    tracking_uri="http://mlflow.mlflow:5000",
    scoring_images={"3.11": "scoring:3.11", "3.12": "scoring:3.12"},
)


@pytest.mark.parametrize("case", CASES)
def test_the_resource_becomes_these_objects(case: str) -> None:
    expected = list(yaml.safe_load_all((FOLDER / case / "output.yaml").read_text()))
    assert objects(case) == expected


def test_there_are_cases() -> None:
    assert len(CASES) >= 10


def objects(case: str) -> list[dict[str, Any]]:
    """The objects of a case: `resource`, what its URIs mean, and what is live."""
    given = yaml.safe_load((FOLDER / case / "input.yaml").read_text())
    raw = given["resource"]
    raw["metadata"] = {"namespace": "models", "uid": "uid-1", "generation": 1, **raw["metadata"]}
    resource = MLflowModelDeployment.parse(raw)
    names = RevisionNames(SETTINGS)
    resolution = Resolution(
        model=ModelVersion(**given["model"]),
        canary=ModelVersion(**given["canary"]) if "canary" in given else None,
        variants={
            name: ModelVersion(**version) for name, version in given.get("variants", {}).items()
        },
        shadow=ModelVersion(**given["shadow"]) if "shadow" in given else None,
    )
    live = LiveChildren()
    if given.get("others_are_ready"):
        resource, live = _ready(raw, resource, names, resolution)
    if "stable" in given:
        resource, live = _updating(raw, resource, names, given)
    desired = _desired(resource, resolution, live, names)
    if given.get("route_is_accepted"):
        live = replace(live, routes={resource.name: _accepted(desired[-1])})
        desired = _desired(resource, resolution, live, names)
    return desired


def _desired(
    resource: MLflowModelDeployment,
    resolution: Resolution,
    live: LiveChildren,
    names: RevisionNames,
) -> list[dict[str, Any]]:
    plan = make_plan(resource, resolution, live, names, SETTINGS, now=0.0)
    assert plan is not None
    return desired_objects(resource, plan, live, SETTINGS)


def _accepted(route: dict[str, Any]) -> dict[str, Any]:
    """The route as its Gateway has accepted it."""
    conditions = [
        {"type": type_, "status": "True", "observedGeneration": 1}
        for type_ in ("Accepted", "ResolvedRefs")
    ]
    parent = {"parentRef": route["spec"]["parentRefs"][0], "conditions": conditions}
    metadata = {**route["metadata"], "generation": 1}
    return {**route, "metadata": metadata, "status": {"parents": [parent]}}


def _ready(
    raw: dict[str, Any],
    resource: MLflowModelDeployment,
    names: RevisionNames,
    resolution: Resolution,
) -> tuple[MLflowModelDeployment, LiveChildren]:
    """The same with the stable revision serving, and the pods of all others ready."""
    beside = (resolution.canary, resolution.shadow, *resolution.variants.values())
    models = (resolution.model, *beside)
    stable, *others = (
        names.revision(resource, model) for model in models if isinstance(model, ModelVersion)
    )
    recorded = {"revision": stable.name, "modelUri": stable.model.uri, "modelVersion": "3"}
    replicas = resource.spec.scaling.min_replicas
    deployments = {
        revision.name: {
            "metadata": {"name": revision.name, "generation": 1},
            "spec": {"replicas": replicas},
            "status": {"observedGeneration": 1, "readyReplicas": replicas},
        }
        for revision in (stable, *others)
    }
    live = LiveChildren(deployments=deployments)
    return MLflowModelDeployment.parse({**raw, "status": {"stable": recorded}}), live


def _updating(
    raw: dict[str, Any], resource: MLflowModelDeployment, names: RevisionNames, given: Any
) -> tuple[MLflowModelDeployment, LiveChildren]:
    """The same while the version `stable` serves with `replicas` pods, and no other has any yet."""
    stable = names.revision(resource, ModelVersion(**given["stable"]))
    recorded = {
        "revision": stable.name,
        "modelUri": stable.model.uri,
        "modelVersion": stable.model.version,
        "requestedUri": stable.model.requested,
        "trackingUri": stable.model.tracking_uri,
        "name": stable.model.name,
        "pythonVersion": stable.model.python_version,
    }
    status = {
        "stable": recorded,
        "traffic": [{"revision": stable.name, "weight": 100}],
        "rollout": {"phase": "Stable", "revision": stable.name},
        "observedGeneration": 1,
    }
    deployment = {
        "metadata": {"name": stable.name, "generation": 1},
        "spec": {"replicas": given["replicas"]},
        "status": {"observedGeneration": 1, "readyReplicas": given["replicas"]},
    }
    live = LiveChildren(deployments={stable.name: deployment})
    return MLflowModelDeployment.parse({**raw, "status": status}), live


if __name__ == "__main__":
    for name in CASES:
        text = yaml.safe_dump_all(objects(name), sort_keys=False, width=100)
        (FOLDER / name / "output.yaml").write_text(text)
