"""Which revisions the present spec renders."""

from __future__ import annotations

from mlflow_model_operator.api.model_version import ModelVersion
from mlflow_model_operator.kube.objects import LiveChildren
from mlflow_model_operator.plan import Plan, Resolution, RevisionNames, make_plan
from mlflow_model_operator.settings import Settings
from tests.unit.operator.status.pods import V3, V4, deployment, resource

SETTINGS = Settings(scoring_images={"3.11": "scoring:3.11"})


def plan(canary: ModelVersion, **server: object) -> Plan:
    """Version 3 serves, @champion has moved to 4, and a canary is named by another URI."""
    names = RevisionNames(SETTINGS)
    spec = {"canary": {"uri": canary.requested, "weight": 10}}
    stable = RevisionNames(SETTINGS).revision(resource(**spec), V3.model)
    status = {
        "stable": {
            "revision": stable.name,
            "modelVersion": "3",
            "modelUri": V3.model.uri,
            "requestedUri": V3.model.requested,
            "trackingUri": V3.model.tracking_uri,
        },
        "traffic": [{"revision": stable.name, "weight": 100}],
    }
    given = resource(status=status, **spec, server=server)
    live = LiveChildren(deployments={stable.name: deployment(stable, ready=1)})
    result = make_plan(given, Resolution(V4.model, canary), live, names, SETTINGS, now=0.0)
    assert result is not None
    assert result.decision.stable.name == stable.name
    return result


def test_a_stable_revision_that_the_canary_names_by_another_uri_is_not_stale() -> None:
    canary = ModelVersion("models:/wine/3", V3.model.uri, "3", V3.model.tracking_uri)
    assert plan(canary).stale is None


def test_a_stable_revision_of_an_older_pod_template_is_stale() -> None:
    canary = ModelVersion("models:/wine/3", V3.model.uri, "3", V3.model.tracking_uri)
    template_changed = plan(canary, workers=2)
    assert template_changed.stale == template_changed.decision.stable
