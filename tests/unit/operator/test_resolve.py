"""Which model URIs a resource is subscribed to while signatures are compared."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, cast

import pytest

from mlflow_model_operator.api.model_version import (
    ModelVersion,
    ResolutionError,
    ResolutionPending,
)
from mlflow_model_operator.api.reasons import Reason
from mlflow_model_operator.api.resource import Key, MLflowModelDeployment
from mlflow_model_operator.plan import Resolution
from mlflow_model_operator.policy import Policy
from mlflow_model_operator.registry import Registry
from mlflow_model_operator.resolve import Resolver
from mlflow_model_operator.settings import Settings
from tests.unit.operator.status.pods import resource

URI, STABLE = "models:/wine@champion", "models:/wine/3"
STEPS = {"steps": [{"weight": 10}]}
SERVED = {
    "revision": "wine-3",
    "modelVersion": "3",
    "modelUri": "models:/m-3",
    "requestedUri": URI,
    "name": "wine",
    "trackingUri": "http://mlflow",
}


class FakeRegistry:
    """Answers from a table; what it lacks is pending."""

    def __init__(self, answers: dict[str, ModelVersion | ResolutionError]) -> None:
        self.answers = answers
        self.subscriptions: set[str] = set()

    async def resolve(self, key: Key, uri: str, tracking_uri: str | None) -> ModelVersion:
        self.subscriptions.add(uri)
        answer = self.answers.get(uri)
        if answer is None:
            raise ResolutionPending
        if isinstance(answer, ResolutionError):
            raise answer
        return answer

    def unsubscribe(self, key: Key, except_for: Iterable[tuple[str | None, str]] = ()) -> None:
        self.subscriptions &= {uri for _, uri in except_for}


def version(number: str, server: str = "http://mlflow") -> ModelVersion:
    return ModelVersion(URI, f"models:/m-{number}", number, server, "wine")


def given(
    rollout: dict[str, Any] | None = None, target: dict[str, Any] | None = None
) -> MLflowModelDeployment:
    status = {"stable": SERVED, **({"target": target} if target else {})}
    return resource(status, rollout=STEPS if rollout is None else rollout)


async def resolve(registry: FakeRegistry, of: MLflowModelDeployment) -> Resolution:
    settings = Settings(tracking_uri="http://mlflow", scoring_images={"3.11": "scoring"})
    resolver = Resolver(Policy(settings), cast(Registry, registry), lambda _: False, ("3.11",))
    return await resolver.resolve(of)


async def test_the_stable_version_is_asked_for_while_another_is_to_take_over() -> None:
    registry = FakeRegistry({URI: version("4"), STABLE: version("3")})
    found = await resolve(registry, given())
    assert found.stable == version("3")
    assert registry.subscriptions == {URI, STABLE}

    registry.answers[URI] = version("3")
    assert (await resolve(registry, given())).stable is None
    assert registry.subscriptions == {URI}


async def test_without_the_gate_nothing_is_asked_for() -> None:
    registry = FakeRegistry({URI: version("4"), STABLE: version("3")})
    registry.subscriptions = {URI, STABLE}
    off = {**STEPS, "gates": {"signature": "Off"}}
    for rollout in (off, {"strategy": "direct"}):
        assert (await resolve(registry, given(rollout))).stable is None
        assert registry.subscriptions == {URI}


async def test_a_version_of_another_server_is_not_asked_for() -> None:
    registry = FakeRegistry({URI: version("4", "http://other"), STABLE: version("3")})
    assert (await resolve(registry, given())).stable is None


async def test_a_version_that_is_gone_is_a_result_too() -> None:
    gone = ResolutionError(Reason.VERSION_NOT_FOUND, "deleted")
    registry = FakeRegistry({URI: version("4"), STABLE: gone})
    assert (await resolve(registry, given())).stable is gone


async def test_a_first_answer_is_waited_for_unless_the_registry_is_down() -> None:
    registry = FakeRegistry({URI: version("4")})
    with pytest.raises(ResolutionPending):
        await resolve(registry, given())
    registry.answers[URI] = ResolutionError(Reason.REGISTRY_UNREACHABLE, "no answer")
    found = await resolve(registry, given(target=SERVED | {"revision": "wine-4"}))
    assert isinstance(found.stable, ResolutionError)
    assert found.stable.reason is Reason.REGISTRY_UNREACHABLE


async def test_variants_are_resolved_each_within_the_policy() -> None:
    variants = [
        {"name": "b", "uri": "models:/wine@b", "weight": 10},
        {"name": "c", "uri": "runs:/0123/model", "weight": 10},
    ]
    written = resource({"stable": SERVED}, variants=variants, policy={"sources": ["models:/wine"]})
    registry = FakeRegistry({URI: version("3"), "models:/wine@b": version("4")})
    found = await resolve(registry, written)
    assert found.variants["b"] == version("4")
    denied = found.variants["c"]
    assert isinstance(denied, ResolutionError) and denied.reason is Reason.POLICY_DENIED
    assert "spec.variants[1].uri" in denied.message
    assert registry.subscriptions == {URI, "models:/wine@b"}
