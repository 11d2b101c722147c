"""Several versions beside the stable one: each has its share while it answers."""

from __future__ import annotations

from typing import Any

from hypothesis import strategies as st
from hypothesis.stateful import rule

from mlflow_model_operator.api.reasons import Reason
from mlflow_model_operator.kube import kinds
from tests.unit.operator.simulation.cluster import KEY, Json
from tests.unit.operator.simulation.operator import ALIAS, ROUTING, World
from tests.unit.operator.simulation.profile import PROFILE
from tests.unit.operator.simulation.test_any_course_of_events import VERSIONS
from tests.unit.operator.simulation.test_matches import (
    TESTER,
    AnyCourseOfEventsOfMatches,
    cookies,
    rules,
)

ALIAS_B = "models:/wine@b"


def variant(name: str, uri: str, weight: int, **more: Any) -> Json:
    return {"name": name, "uri": uri, "weight": weight, **more}


def given_three_versions(**routing: Any) -> tuple[World, str, str, str]:
    world = World(
        has_gateway=True,
        variants=[variant("b", ALIAS_B, 30, match=TESTER), variant("c", "models:/wine/3", 20)],
        routing={**ROUTING, **routing},
    )
    world.registry.aliases[ALIAS_B] = "2"
    world.settle()
    return world, world.revision_of("1"), world.revision_of("2"), world.revision_of("3")


def test_each_variant_has_its_share_and_the_stable_version_the_rest() -> None:
    world, stable, b, c = given_three_versions(sticky={})
    assert rules(world)[0] == ("", {stable: 50, b: 30, c: 20})
    assert rules(world)[1] == ("true", {stable: 0, b: 100, c: 0})
    assert len(cookies(world)) == 3
    shares = [(share.get("variant"), share["weight"]) for share in world.status["traffic"]]
    assert shares == [(None, 50), ("b", 30), ("c", 20)]
    versions = {entry["variant"]: entry["modelVersion"] for entry in world.status["variants"]}
    assert versions == {"b": "2", "c": "3"}
    assert world.condition("VariantsReady") == ("True", "Ready")
    assert world.condition("Ready") == ("True", "Ready")
    text = "Version 1 gets 50 %, version 2 (b) gets 30 %, version 3 (c) gets 20 % of the requests"
    assert world.message("TrafficSplit") == text


def test_the_share_of_a_variant_that_is_down_goes_to_the_stable_version() -> None:
    world, stable, b, c = given_three_versions()
    world.set_ready(c, 0)
    world.reconcile()
    assert rules(world)[0] == ("", {stable: 70, b: 30})
    assert world.condition("VariantsReady") == ("False", "Starting")
    assert world.condition("TrafficSplit") == ("False", "CanaryNotReady")
    assert "c gets 20 %" in world.message("TrafficSplit")

    world.set_ready(c)
    world.settle()
    world.set_ready(stable, 0)
    world.reconcile()
    assert rules(world)[0] == ("", {b: 60, c: 40})
    assert world.condition("TrafficSplit") == ("False", "StableNotReady")


def test_a_variant_s_alias_moves_and_the_resource_stays_ready() -> None:
    world, stable, b, c = given_three_versions()
    world.registry.aliases[ALIAS_B] = "4"
    world.reconcile()
    world.data_plane.gateway_looks("True")
    world.reconcile()
    assert world.condition("Ready") == ("True", "Starting")
    assert rules(world)[0] == ("", {stable: 80, c: 20})
    world.settle()
    assert rules(world)[0] == ("", {stable: 50, world.revision_of("4"): 30, c: 20})
    assert b not in world.deployments


def test_a_variant_that_becomes_the_stable_version_needs_no_second_share() -> None:
    world, _, b, c = given_three_versions()
    world.registry.aliases[ALIAS] = "2"
    world.settle()
    assert rules(world) == [("", {b: 80, c: 20}), ("true", {b: 80, c: 20})]
    assert [entry["variant"] for entry in world.status["variants"]] == ["c"]
    assert set(world.deployments) == {b, c}
    assert world.condition("Ready") == ("True", "Ready")


def test_two_variants_of_one_version_have_the_sum_of_their_shares() -> None:
    world, stable, b, _ = given_three_versions()
    world.spec({"variants": [variant("b", ALIAS_B, 30), variant("c", "models:/wine/2", 20)]})
    world.settle()
    assert rules(world) == [("", {stable: 50, b: 50})]


def test_with_the_status_lost_no_variant_is_taken_for_the_stable_version() -> None:
    world, stable, b, c = given_three_versions()
    world.cluster.edit(kinds.RESOURCE, KEY.name, {"status": None})
    world.restart()
    world.reconcile()
    assert world.status["stable"]["revision"] == stable
    assert rules(world)[0] == ("", {stable: 50, b: 30, c: 20})


def test_while_the_registry_is_down_the_variants_stay() -> None:
    world, stable, b, c = given_three_versions()
    world.registry.is_down = True
    world.restart()
    world.reconcile()
    assert rules(world)[0] == ("", {stable: 50, b: 30, c: 20})
    assert world.condition("VariantsReady") == ("False", Reason.REGISTRY_UNREACHABLE)
    assert world.condition("Ready") == ("True", Reason.REGISTRY_UNREACHABLE)


class AnyCourseOfVariants(AnyCourseOfEventsOfMatches):
    """The same with up to two variants in place of a canary."""

    @rule(
        versions=st.lists(VERSIONS, max_size=2),
        weights=st.sampled_from([(0, 0), (10, 0), (30, 20), (50, 50)]),
        has_matches=st.booleans(),
    )
    def variants_are_set(
        self, versions: list[str], weights: tuple[int, int], has_matches: bool
    ) -> None:
        matches = TESTER if has_matches else []
        self.world.spec(
            {
                "variants": [
                    variant(name, f"models:/wine/{version}", weight, match=matches)
                    for name, version, weight in zip("bc", versions, weights, strict=False)
                ]
            }
        )

    @rule()
    def a_canary_is_set(self) -> None:
        """None is."""

    @rule()
    def a_canary_of_testers_is_set(self) -> None:
        """None is."""

    def roles(self, status: Json) -> set[str]:
        """Those that may get all requests: a variant without weight may not."""
        weights = {entry["name"]: entry["weight"] for entry in self.written()}
        variants = {
            entry["revision"]
            for entry in status.get("variants", ())
            if weights[entry["variant"]] > 0
        }
        return super().roles(status) | variants

    def written(self) -> list[Json]:
        variants: list[Json] = self.world.resource["spec"].get("variants", [])
        return variants

    def serving(self, status: Json) -> set[str]:
        return super().serving(status) | {entry["revision"] for entry in status.get("variants", ())}


TestVariants = AnyCourseOfVariants.TestCase
TestVariants.settings = PROFILE
