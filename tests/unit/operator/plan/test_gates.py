"""What a new model version must fulfil before it gets any request."""

from __future__ import annotations

from dataclasses import replace

from mlflow_model_operator.api.model_version import ModelVersion, ResolutionError, ResolutionResult
from mlflow_model_operator.api.reasons import Reason
from mlflow_model_operator.plan.gates import first_obstacle
from mlflow_model_operator.rollout.progress import Obstacle
from mlflow_model_operator.rollout.state import Revision
from tests.unit.operator.status.pods import V3, V4, resource

GATES = {"gates": {"tags": {"validation_status": "approved", "team": "cellar"}}}
REGISTERED = Revision("wine-4", replace(V4.model, name="wine"))


def obstacle(
    resolved: ResolutionResult, target: Revision = REGISTERED, stable: Revision | None = V3
) -> Obstacle | None:
    return first_obstacle(resource(rollout=GATES), resolved, target, stable)


def tagged(**tags: str) -> ModelVersion:
    return replace(REGISTERED.model, tags=tuple(tags.items()))


def test_a_version_with_all_tags_passes() -> None:
    assert obstacle(tagged(validation_status="approved", team="cellar", other="x")) is None


def test_a_version_without_a_tag_waits_and_the_message_names_it() -> None:
    found = obstacle(tagged(validation_status="pending", team="cellar"))
    assert found is not None
    assert (found.reason, found.is_final) == (Reason.TAGS_MISSING, False)
    assert "lacks the tags validation_status=approved: set them" in found.message


def test_tags_that_cannot_be_read_are_missing() -> None:
    found = obstacle(ResolutionError(Reason.REGISTRY_UNREACHABLE, "no answer"))
    assert found is not None
    assert "see condition ModelResolved" in found.message


def test_what_is_not_registered_has_no_tags() -> None:
    stored = Revision("wine-4", ModelVersion("s3://models/wine", "s3://models/wine", "-"))
    found = obstacle(stored.model, stored)
    assert found is not None
    assert "not a version of a registered model" in found.message


def test_the_first_version_and_another_template_of_the_same_have_no_gates() -> None:
    assert obstacle(tagged(), stable=None) is None
    assert obstacle(tagged(), stable=Revision("wine-x", REGISTERED.model)) is None
    assert first_obstacle(resource(), tagged(), REGISTERED, V3) is None


def test_a_message_is_short_whatever_the_tags_are() -> None:
    long = {"gates": {"tags": {f"tag-{number}": "x" * 250 for number in range(16)}}}
    found = first_obstacle(resource(rollout=long), tagged(), REGISTERED, V3)
    assert found is not None
    assert len(found.message) < 600
