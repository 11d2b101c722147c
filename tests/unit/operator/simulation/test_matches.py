"""Requests that match, and users that stay: whatever happens, only what is ready gets them."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import rule

from mlflow_model_operator.kube import kinds
from tests.unit.operator.simulation.cluster import KEY, Json
from tests.unit.operator.simulation.operator import ALIAS, ROUTING, World
from tests.unit.operator.simulation.profile import PROFILE
from tests.unit.operator.simulation.test_any_course_of_events import (
    VERSIONS,
    AnyCourseOfEvents,
)

TESTER = [{"header": {"name": "x-tester", "value": "true"}}]
STICKY = {**ROUTING, "sticky": {"cookie": "user"}}
PAUSED = {"steps": [{"pause": {}}, {"weight": 20, "hold": "5m"}], "match": TESTER}


def route(world: World) -> Json:
    return world.cluster.live(kinds.ROUTE)[KEY.name]


def by_cookie(revision: str, cookie: str = "user") -> str:
    """What the rule for the users of a revision matches."""
    return f"^(.*; *)?{cookie}={revision}( *;.*)?$"


NOBODY = "-"


def rules(world: World) -> list[tuple[str, dict[str, int]]]:
    """What the route's rules match, "" for all requests, and where they lead."""
    found = []
    for entry in route(world)["spec"]["rules"]:
        headers = entry["matches"][0].get("headers") or [{"name": "", "value": ""}]
        weights: dict[str, int] = {}
        for ref in entry["backendRefs"]:
            weights[ref["name"]] = weights.get(ref["name"], 0) + ref["weight"]
        found.append((headers[0]["value"], weights))
    return found


def served(weights: dict[str, int]) -> set[str]:
    return {name for name, weight in weights.items() if weight > 0}


def led_by_match(world: World) -> set[str]:
    """The revisions that testers get though the weights lead elsewhere."""
    (_, by_weight), *others = rules(world)
    return {
        name
        for value, weights in others
        if value == "true" and served(weights) != served(by_weight)
        for name in served(weights)
    }


def cookies(world: World) -> list[str]:
    """The names of the revisions that the route assigns users to."""
    refs = route(world)["spec"]["rules"][0]["backendRefs"]
    changed = [ref["filters"][0]["responseHeaderModifier"] for ref in refs if "filters" in ref]
    return [header["value"].split(";")[0] for change in changed for header in change.get("add", ())]


def given_a_canary(weight: int, **routing: Any) -> tuple[World, str, str]:
    canary = {"uri": "models:/wine/2", "weight": weight, "match": TESTER}
    world = World(has_gateway=True, canary=canary, routing={**ROUTING, **routing})
    world.settle()
    return world, world.revision_of("1"), world.revision_of("2")


def given_a_rollout(**rollout: Any) -> tuple[World, str, str]:
    world = World(has_gateway=True, rollout={**PAUSED, **rollout}, routing=STICKY)
    world.settle()
    old = world.revision_of("1")
    world.registry.aliases[ALIAS] = "2"
    world.reconcile()
    return world, old, world.revision_of("2")


def test_a_tester_gets_a_canary_without_weight_while_it_answers() -> None:
    world, stable, canary = given_a_canary(0)
    assert rules(world) == [("", {stable: 100}), ("true", {stable: 0, canary: 100})]
    assert world.status["matched"] == [canary]
    assert world.status["routedRevisions"] == sorted([stable, canary])

    world.set_ready(canary, 0)
    world.reconcile()
    assert rules(world) == [("", {stable: 100}), ("true", {stable: 100, canary: 0})]
    assert "matched" not in world.status

    world.set_ready(canary)
    world.reconcile()
    assert rules(world)[1:] == [("true", {stable: 100, canary: 0})], "not accepted yet"
    world.data_plane.gateway_looks("True")
    world.reconcile()
    assert rules(world)[1:] == [("true", {stable: 0, canary: 100})]


def test_the_status_says_who_gets_testers_once_the_gateway_has_followed() -> None:
    world, stable, canary = given_a_canary(0)
    world.set_ready(canary, 0)
    world.reconcile()
    world.set_ready(canary)
    world.data_plane.gateway_looks("True")
    world.reconcile()
    assert rules(world)[1:] == [("true", {stable: 0, canary: 100})]
    assert "matched" not in world.status
    world.data_plane.gateway_looks("True")
    world.reconcile()
    assert world.status["matched"] == [canary]

    world.spec({"routing": {"hostnames": ["wine.example.com", "b.example.com"]}})
    world.reconcile()
    assert rules(world)[1:] == [("true", {stable: 0, canary: 100})]
    assert world.status["matched"] == [canary], "as the gateway had it before, and will have it"
    world.data_plane.gateway_looks("False")
    world.reconcile()
    assert "matched" not in world.status


def test_the_rule_of_testers_is_there_before_and_after_their_revision() -> None:
    world = World(has_gateway=True, rollout=PAUSED, routing=ROUTING)
    world.settle()
    stable = world.revision_of("1")
    assert rules(world) == [("", {stable: 100}), ("true", {stable: 100})]
    requests = len(world.cluster.requests)
    world.reconcile()
    assert len(world.cluster.requests) == requests, "nothing is written"


def test_a_canary_that_only_testers_get_is_drained_like_any_other() -> None:
    world, _, canary = given_a_canary(0)
    world.spec({"canary": None})
    world.reconcile()
    assert [entry["revision"] for entry in world.status["draining"]] == [canary]
    assert canary in world.deployments
    world.settle()
    assert canary not in world.deployments


def test_with_the_status_lost_a_tester_s_canary_keeps_its_requests() -> None:
    world, stable, canary = given_a_canary(0)
    world.cluster.edit(kinds.RESOURCE, KEY.name, {"status": None})
    world.restart()
    world.reconcile()
    assert rules(world) == [("", {stable: 100}), ("true", {stable: 0, canary: 100})]


def test_a_tester_gets_the_new_revision_before_its_first_weight() -> None:
    world, old, new = given_a_rollout()
    by_weight = {old: 100, new: 0}
    values = ["", "true", by_cookie(old), by_cookie(new)]
    assert rules(world) == [(value, by_weight) for value in values]
    world.set_ready(new)
    world.reconcile()
    assert rules(world)[1] == ("true", by_weight), "the gateway does not know it yet"

    world.data_plane.gateway_looks("True")
    world.reconcile()
    assert rules(world)[:2] == [("", by_weight), ("true", {old: 0, new: 100})]
    assert world.status["rollout"]["phase"] == "Paused"
    world.reconcile()  # the gateway has not looked at the new rule yet
    assert rules(world)[1] == ("true", {old: 0, new: 100})

    world.set_ready(new, 0)
    world.reconcile()
    assert rules(world) == [(value, by_weight) for value in values]


def test_a_gate_keeps_testers_away_too() -> None:
    world, _, new = given_a_rollout(gates={"tags": {"status": "approved"}})
    world.set_ready(new)
    world.data_plane.gateway_looks("True")
    world.reconcile()
    assert world.status["rollout"]["waitingFor"] == "Gates"
    assert [weights[new] for _, weights in rules(world)] == [0, 0, 0, 0]


def test_users_stay_while_requests_are_split() -> None:
    world, stable, canary = given_a_canary(20, sticky={})
    assert cookies(world) == [f"model-revision={stable}", f"model-revision={canary}"]
    values = ["", "true", *(by_cookie(name, "model-revision") for name in (stable, canary))]
    to_stable, to_canary = {stable: 100, canary: 0}, {stable: 0, canary: 100}
    weights = [{stable: 80, canary: 20}, to_canary, to_stable, to_canary]
    assert rules(world) == list(zip(values, weights, strict=True))

    world.set_ready(canary, 0)
    world.reconcile()
    weights = [{stable: 100}, to_stable, {stable: 100}, to_stable]
    assert rules(world) == list(zip(values, weights, strict=True)), "users of the canary fall back"
    assert cookies(world) == []


def test_users_of_the_old_revision_stay_until_the_new_one_gets_all_requests() -> None:
    steps = [{"weight": 20, "hold": "5m"}, {"weight": 100, "hold": "5m"}]
    world, old, new = given_a_rollout(steps=steps, match=[])
    assert cookies(world) == []
    world.set_ready(new)
    world.reconcile()
    world.data_plane.gateway_looks("True")
    world.reconcile()
    assert cookies(world) == [f"user={old}", f"user={new}"]
    world.data_plane.gateway_looks("True")
    world.reconcile()
    assert world.status["rollout"]["acceptedWeight"] == 20
    world.now += 301
    world.reconcile()
    world.set_ready(new)
    world.reconcile()
    assert rules(world) == [
        (value, {old: 0, new: 100}) for value in ("", by_cookie(old), by_cookie(new))
    ]
    assert cookies(world) == []
    world.settle()
    world.now += 301
    world.settle()
    assert rules(world) == [
        (value, {new: 100}) for value in ("", by_cookie(new), by_cookie(NOBODY))
    ]


def test_where_pods_are_exchanged_users_follow_them() -> None:
    scaling = {"minReplicas": 4}
    world = World(has_gateway=True, rollout={"surge": 25}, routing=STICKY, scaling=scaling)
    world.settle()
    world.registry.aliases[ALIAS] = "2"
    splits = set()
    for _ in range(30):
        world.reconcile()
        for name in list(world.deployments):
            world.set_ready(name)
        world.data_plane.gateway_looks("True")
        assert cookies(world) == []
        splits.add(min(rules(world)[0][1].values()))
    assert len(splits) > 2
    assert world.status["stable"]["modelVersion"] == "2"


def test_a_gateway_that_cannot_set_cookies_gets_the_route_without() -> None:
    world, stable, canary = given_a_canary(20, sticky={})
    world.data_plane.is_simple = True
    world.data_plane.gateway_looks("True")
    world.reconcile()
    assert cookies(world) == []
    assert [value for value, _ in rules(world)] == ["", "true"], "the matches may be supported"
    assert world.condition("RulesAccepted") == ("False", "RulesRefused")
    assert "spec.routing.sticky" in world.message("RulesAccepted")

    world.data_plane.gateway_looks("True")
    world.reconcile()
    assert rules(world) == [("", {stable: 80, canary: 20})]
    assert {entry["rules"] for entry in world.status["refusedRules"]} == {"Sticky", "Match"}
    world.settle()
    assert world.condition("RouteAccepted")[0] == "True"
    assert world.condition("Ready") == ("False", "RulesRefused")
    assert world.condition("Stalled") == ("True", "RulesRefused")
    assert world.data_plane.by_route() == {stable, canary}

    world.spec({"scaling": {"minReplicas": 2}})
    world.settle()
    assert len(rules(world)) == 1, "an edit of something else does not try again"
    world.data_plane.is_simple = False
    world.spec({"routing": {"sticky": {"maxAge": "1h"}}})
    world.settle()
    assert len(rules(world)) == 4
    assert world.condition("RulesAccepted")[0] == "True"
    assert "refusedRules" not in world.status


@pytest.mark.parametrize("reason", ["NotAllowedByListeners", "BackendNotFound"])
def test_other_refusals_are_no_matter_of_the_rules(reason: str) -> None:
    world, _, _ = given_a_canary(20, sticky={})
    entry = route(world)["status"]["parents"][0]
    refused = [{**entry["conditions"][0], "status": "False", "reason": reason}]
    parents = [{**entry, "conditions": refused}]
    world.cluster.edit(kinds.ROUTE, KEY.name, {"status": {"parents": parents}})
    world.reconcile()
    assert len(cookies(world)) == 2
    assert world.condition("RulesAccepted")[0] == "True"
    assert world.condition("RouteAccepted") == ("False", "RouteRefused")


def test_what_is_refused_of_an_earlier_spec_is_tried_again() -> None:
    world, _, _ = given_a_canary(20)
    world.data_plane.gateway_looks("False")
    world.spec({"canary": {"match": [{"header": {"name": "x-beta", "value": "yes"}}]}})
    world.settle()
    assert rules(world)[1][0] == "yes"
    assert world.condition("Ready") == ("True", "Ready")


class AnyCourseOfEventsOfMatches(AnyCourseOfEvents):
    """The same with testers, users that stay, and a gateway that may not support either."""

    def __init__(self) -> None:
        super().__init__()
        self.led_before: set[str] = set()
        self.places_before: tuple[Any, list[str]] = (None, [])

    @rule(version=VERSIONS, weight=st.sampled_from([0, 10, 100]))
    def a_canary_of_testers_is_set(self, version: str, weight: int) -> None:
        canary = {"uri": f"models:/wine/{version}", "weight": weight, "match": TESTER}
        self.world.spec({"canary": canary})

    @rule(is_sticky=st.booleans())
    def users_stay_or_not(self, is_sticky: bool) -> None:
        self.world.spec({"routing": {"sticky": {} if is_sticky else None}})

    @rule(is_simple=st.booleans())
    def the_gateway_is_another(self, is_simple: bool) -> None:
        self.world.data_plane.is_simple = is_simple

    def check_traffic(self, before: dict[str, int], answering: set[str], ready: set[str]) -> None:
        super().check_traffic(before, answering, ready)
        world = self.world
        matched = set(world.status.get("matched", ()))
        assert matched <= answering, "testers get what does not answer"
        if KEY.name not in world.cluster.live(kinds.ROUTE):
            assert not matched
            return
        led, shares = led_by_match(world), self.shares()
        assert matched <= led | set(shares), "testers do not get what the status says"
        if not world.cluster.frozen:
            assert led <= answering, "testers get what does not answer"
            started = led - self.led_before - set(shares)
            assert started <= ready, "testers get what is not ready"
            assert started <= world.data_plane.listed.get("true", set()), "not known yet"
            for value, weights in rules(world)[1:]:
                allowed = led | set(shares) if value == "true" else set(shares)
                assert served(weights) <= allowed, "a rule leads to what has no requests"
        self.led_before = led
        self.check_places()

    def check_places(self) -> None:
        """Rules neither come, go nor move unless a user, or a gateway's refusal, is the cause."""
        world, live = self.world, route(self.world)
        causes = [
            world.resource["metadata"]["generation"],
            [entry["rules"] for entry in world.status.get("refusedRules", ())],
            bool(world.cluster.frozen),
            live["metadata"]["uid"],
        ]
        stable = world.status["stable"]["revision"]
        places = [value for value, _ in rules(world)]
        before, self.places_before = self.places_before, ((causes, stable), places)
        if before[0] == ((causes, stable)):
            names = [by_cookie(stable, "model-revision"), "", "true"]
            assert len(places) == len(before[1])
            for value in set(before[1]) & set(names):
                assert places.index(value) == before[1].index(value), "a rule has moved"

    @rule()
    def the_status_is_lost(self) -> None:
        """Then it is the route that says who had requests."""
        if not self.is_anything_hidden():
            super().the_status_is_lost()
            self.led_before = set(self.world.deployments)

    def teardown(self) -> None:
        self.world.data_plane.is_simple = False
        self.world.spec({"routing": {"sticky": {"maxAge": "1h"}}})
        super().teardown()


class AnyCourseOfRollouts(AnyCourseOfEventsOfMatches):
    """The same with steps, beside which there is no canary."""

    def __init__(self) -> None:
        super().__init__()
        self.world.spec({"rollout": {"steps": [{"weight": 20}, {"weight": 60}], "match": TESTER}})

    @rule()
    def a_canary_is_set(self) -> None:
        """None is."""

    @rule()
    def a_canary_of_testers_is_set(self) -> None:
        """None is."""


TestMatches = AnyCourseOfEventsOfMatches.TestCase
TestMatches.settings = PROFILE
TestRollouts = AnyCourseOfRollouts.TestCase
TestRollouts.settings = PROFILE
