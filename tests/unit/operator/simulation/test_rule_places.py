"""The rules of the route over a whole rollout with testers, users that stay, and gRPC.

A gateway may have no endpoints for a rule that is new, or at another place than before.
"""

from __future__ import annotations

from collections.abc import Callable

import pytest

from mlflow_model_operator.api import names
from mlflow_model_operator.kube import httproute, kinds
from mlflow_model_operator.rollout.matches import header_of
from tests.unit.operator.render.test_route_rules import TESTER
from tests.unit.operator.simulation.cluster import KEY, Json
from tests.unit.operator.simulation.operator import ALIAS, ROUTING, World

STEPS = [{"pause": {}}, {"weight": 20, "hold": "5m"}, {"weight": 100, "hold": "5m"}]
MATCH = [TESTER.model_dump(exclude_none=True)]
Course = Callable[["Watched"], None]


class Watched:
    """A world whose route is looked at after each reconcile."""

    def __init__(self) -> None:
        self.world = World(
            has_gateway=True,
            rollout={"steps": STEPS, "match": MATCH},
            routing={**ROUTING, "sticky": {}},
            server={"grpc": True},
        )
        self.world.settle()
        self.matches = self.headers()
        self.listed: frozenset[str] = frozenset()
        self.led: set[str] = (
            set()
        )  # what testers got, at any time, though the weights led elsewhere
        self.accept()

    @property
    def route(self) -> Json:
        return self.world.cluster.live(kinds.ROUTE)[KEY.name]

    def headers(self) -> list[str]:
        """By place, what the rules match; all users of whichever revision are the same here."""
        return [
            "|".join(
                str(match["path"]["value"])
                + "".join(h["value"] for h in match.get("headers", ()) if h["name"] != "Cookie")
                for match in rule["matches"]
            )
            for rule in self.route["spec"]["rules"]
        ]

    def accept(self) -> None:
        """The gateway follows the route, and so it has what each rule for testers lists."""
        self.world.data_plane.gateway_looks("True")
        listed = [frozenset(rule.weights) for rule in self.pins()]
        self.listed = frozenset.intersection(*listed)

    def pins(self) -> list[httproute.HeaderRule]:
        headers = frozenset({header_of(TESTER)})
        return [rule for rule in httproute.header_rules(self.route) if rule.headers == headers]

    def reconcile(self, seconds: float = 0.0) -> None:
        self.world.now += seconds
        self.world.reconcile()
        self.check()

    def check(self) -> None:
        assert self.headers() == self.matches, "a rule came, went or moved"
        by_weight = httproute.weights(self.route)
        for rule in self.pins():
            if rule.shares != by_weight:
                (revision,) = rule.shares
                assert revision in self.led or revision in self.listed, "not listed before"
                self.led.add(revision)
        for rule in httproute.header_rules(self.route):
            assert set(httproute.listed_weights(self.route)) <= set(rule.weights)

    def play(self, until: Callable[[], bool], seconds: float = 1.0) -> None:
        """All pods get ready and the gateway follows, one after the other."""
        for _ in range(40):
            if until():
                return
            for name in list(self.world.deployments):
                self.world.set_ready(name)
                self.reconcile()
            self.accept()
            self.reconcile(seconds)
        raise AssertionError("it never comes")

    def says(self, action: str) -> None:
        patch = {"metadata": {"annotations": {names.ROLLOUT: f"{action}/{self.world.now}"}}}
        self.world.cluster.edit(kinds.RESOURCE, KEY.name, patch)
        self.reconcile()

    def moves(self, version: str) -> None:
        self.world.registry.aliases[ALIAS] = version
        self.reconcile()

    def serves(self, version: str) -> bool:
        status = self.world.status
        return status["stable"]["modelVersion"] == version and "target" not in status


def until_testers_get(watched: Watched, version: str) -> None:
    watched.moves(version)
    world = watched.world
    watched.play(lambda: world.status.get("matched") == [world.revision_of(version)])


def promoted(watched: Watched) -> None:
    until_testers_get(watched, "2")
    watched.says("resume")
    watched.play(lambda: watched.serves("2"), 301.0)
    until_testers_get(watched, "3")
    watched.says("promote")
    watched.play(lambda: watched.serves("3"), 301.0)


def aborted_and_tried_again(watched: Watched) -> None:
    until_testers_get(watched, "2")
    watched.says("abort")
    assert watched.pins()[0].shares == {watched.world.revision_of("1"): 100}
    watched.play(lambda: "matched" not in watched.world.status)
    watched.says("retry")
    watched.play(lambda: bool(watched.world.status.get("matched")))


def unready_midway(watched: Watched) -> None:
    until_testers_get(watched, "2")
    watched.says("resume")
    watched.play(lambda: watched.world.status["rollout"].get("acceptedWeight") == 20)
    new = watched.world.revision_of("2")
    watched.world.set_ready(new, 0)
    watched.reconcile()
    assert all(not rule.weights[new] for rule in httproute.header_rules(watched.route))
    watched.play(lambda: watched.world.status.get("matched") == [new])


def another_version_midway(watched: Watched) -> None:
    until_testers_get(watched, "2")
    until_testers_get(watched, "3")
    watched.moves("1")
    watched.play(lambda: watched.serves("1"))


@pytest.mark.parametrize(
    "course", [promoted, aborted_and_tried_again, unready_midway, another_version_midway]
)
def test_no_rule_comes_goes_or_moves_during_a_rollout(course: Course) -> None:
    watched = Watched()
    course(watched)
    assert watched.led, "testers got it"
    watched.world.settle()
    watched.check()
    before = len(watched.world.cluster.requests)
    watched.reconcile()
    assert len(watched.world.cluster.requests) == before, "nothing is written"
