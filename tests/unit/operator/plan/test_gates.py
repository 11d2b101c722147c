"""What a new model version must fulfil before it gets any request."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from mlflow_model_operator.api.model_version import ModelVersion, ResolutionError, ResolutionResult
from mlflow_model_operator.api.reasons import Reason
from mlflow_model_operator.api.signature import Signature
from mlflow_model_operator.plan.gates import GatesResult, check_gates, has_gates
from mlflow_model_operator.rollout.progress import Obstacle
from mlflow_model_operator.rollout.state import Revision
from tests.unit.operator.status.pods import V3, V4, resource

GATES = {"gates": {"tags": {"validation_status": "approved", "team": "cellar"}}}
REGISTERED = Revision("wine-4", replace(V4.model, name="wine"))


def obstacle(
    resolved: ResolutionResult, target: Revision = REGISTERED, stable: Revision | None = V3
) -> Obstacle | None:
    return check_gates(resource(rollout=GATES), resolved, target, stable).obstacle


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
    assert check_gates(resource(), tagged(), REGISTERED, V3).obstacle is None


def test_a_message_is_short_whatever_the_tags_are() -> None:
    long = {"gates": {"tags": {f"tag-{number}": "x" * 250 for number in range(16)}}}
    found = check_gates(resource(rollout=long), tagged(), REGISTERED, V3).obstacle
    assert found is not None
    assert len(found.message) < 600


STEPS = [{"weight": 10}]
OLD = Signature('[{"type": "double", "name": "a", "required": true}]', "[]")
MORE = Signature(
    '[{"type": "double", "name": "a", "required": true}]', '[{"type": "long", "name": "rank"}]'
)
OTHER = Signature('[{"type": "string", "name": "a", "required": true}]', "[]")


def signed(new: Signature | None, old: Signature | None = OLD, **rollout: Any) -> GatesResult:
    resolved, stable = replace(V4.model, signature=new), replace(V3.model, signature=old)
    given = resource(rollout=rollout or {"steps": STEPS})
    return check_gates(given, resolved, V4, V3, stable)


def test_a_compatible_signature_passes_and_an_incompatible_one_never_does() -> None:
    assert signed(MORE) == GatesResult()
    found = signed(OTHER).obstacle
    assert found is not None
    assert (found.reason, found.is_final) == (Reason.SIGNATURE_INCOMPATIBLE, True)
    assert found.message.startswith(
        "its signature does not fit clients of version 3: the input 'a' was double and is string. "
    )
    assert "set spec.rollout.gates.signature to Off" in found.message


def test_strictly_any_other_signature_is_refused() -> None:
    strict = {"signature": "Strict"}
    assert signed(OLD, gates=strict) == GatesResult()
    found = signed(MORE, gates=strict).obstacle
    assert found is not None
    assert "the output 'rank' (long) is new" in found.message


def test_signatures_are_compared_where_there_are_steps_or_the_spec_says_so() -> None:
    assert signed(OTHER, strategy="direct") == GatesResult()
    assert signed(OTHER, strategy="direct", gates={"signature": "Compatible"}).obstacle
    assert signed(OTHER, strategy="canary").obstacle
    assert signed(OTHER, strategy="canary", gates={"signature": "Off"}) == GatesResult()


@pytest.mark.parametrize(
    ("new", "old", "notice"),
    [
        (None, OLD, "the signature of the new version can't be read"),
        (OLD, None, "the signature of version 3 can't be read"),
        (Signature(), OLD, "the new version has no signature"),
        (Signature("nonsense"), OLD, "a signature is not as MLflow writes it"),
    ],
)
def test_what_cannot_be_compared_passes_unless_strictly_and_is_named(
    new: Signature | None, old: Signature | None, notice: str
) -> None:
    assert signed(new, old) == GatesResult(notice=f"Signatures were not compared: {notice}")
    found = signed(new, old, gates={"signature": "Strict"}).obstacle
    assert found is not None
    assert found.is_final is (new is not None and old is not None)
    if not found.is_final:
        ways_out = ("Log the version with a signature", "Compatible", "Off")
        assert all(way in found.message for way in ways_out)


def test_while_the_registry_does_not_answer_it_waits() -> None:
    given = resource(rollout={"steps": STEPS})
    down = ResolutionError(Reason.REGISTRY_UNREACHABLE, "no answer")
    new, old = replace(V4.model, signature=OLD), replace(V3.model, signature=OLD)
    for resolved, stable in ((down, old), (new, down), (down, down)):
        found = check_gates(given, resolved, V4, V3, stable).obstacle
        assert found is not None
        assert (found.reason, found.is_final) == (Reason.SIGNATURE_UNKNOWN, False)
    gone = ResolutionError(Reason.ALIAS_NOT_FOUND, "deleted")
    found = check_gates(given, gone, V4, V3, old).obstacle
    assert found is not None
    assert (found.reason, found.is_final) == (Reason.SIGNATURE_UNKNOWN, False)
    last = ResolutionError(Reason.REGISTRY_UNREACHABLE, "no answer", new)
    assert check_gates(given, last, V4, V3, old) == GatesResult()


def test_the_signature_of_another_version_of_the_same_number_is_not_compared() -> None:
    again = replace(V3.model, created=2000, signature=OTHER)
    found = check_gates(
        resource(rollout={"steps": STEPS}), replace(V4.model, signature=OLD), V4, V3, again
    )
    assert "the signature of version 3 can't be read" in found.notice


def test_tags_come_before_the_signature() -> None:
    gates = {**GATES["gates"], "signature": "Compatible"}
    other = replace(tagged(), signature=OTHER)
    stable = replace(V3.model, signature=OLD)
    given = resource(rollout={"gates": gates})
    first = check_gates(given, other, REGISTERED, V3, stable).obstacle
    assert first is not None
    assert first.reason is Reason.TAGS_MISSING
    approved = replace(other, tags=tuple(GATES["gates"]["tags"].items()))
    second = check_gates(given, approved, REGISTERED, V3, stable).obstacle
    assert second is not None
    assert second.reason is Reason.SIGNATURE_INCOMPATIBLE


@pytest.mark.parametrize(
    ("rollout", "expected"),
    [
        ({}, False),
        ({"strategy": "direct"}, False),
        ({"gates": {"signature": "Off"}}, False),
        ({"gates": {"tags": {"a": "b"}}}, True),
        ({"gates": {"signature": "Strict"}}, True),
        ({"gates": {"inputExample": {}}}, True),
        ({"strategy": "canary"}, True),
    ],
)
def test_which_resources_have_gates(rollout: dict[str, Any], expected: bool) -> None:
    assert has_gates(resource(rollout=rollout)) is expected
