"""Shadows, by the real reconciler; the tests say what the pods report."""

from __future__ import annotations

import json
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import rule

from mlflow_model_operator.kube import kinds
from mlflow_model_operator.kube.client import ApiError
from mlflow_model_operator.kube.objects import name_of
from mlflow_model_operator.rollout.progress import Verdict
from tests.unit.operator.simulation.cluster import KEY, Json
from tests.unit.operator.simulation.operator import ALIAS, World
from tests.unit.operator.simulation.profile import PROFILE
from tests.unit.operator.simulation.test_rollouts import (
    AnyCourseOfRollouts,
    control,
    go_on,
    rollout,
    weights,
    world,
)

CHALLENGER = "models:/wine@challenger"
SHADOW = {"uri": CHALLENGER, "percent": 20}
STEPS = [{"shadow": {"percent": 20}, "hold": "10m"}, {"weight": 10, "hold": "1m"}]


def shadowed(*, has_gateway: bool = True, challenger: str = "2", **spec: Any) -> World:
    """Version 1 serves, and the challenger is its shadow."""
    given = World(has_gateway=has_gateway, **spec)
    given.registry.aliases[CHALLENGER] = challenger
    given.settle()
    given.spec({"shadow": SHADOW})
    go_on(given)
    return given


def config(given: World) -> Json:
    """What the ConfigMap says, by the revision whose pods read it; {} where there is none."""
    found = given.cluster.live(kinds.CONFIG_MAP).get(f"{KEY.name}-shadow")
    data = found["data"] if found else {}
    return {file.removesuffix(".json"): json.loads(text) for file, text in data.items()}


def look(given: World, senders: int = 1, **counts: float) -> None:
    given.shadows.look(senders, **counts)
    given.reconcile()


@pytest.mark.parametrize("has_gateway", [True, False])
def test_a_shadow_has_pods_and_a_service_and_no_share(has_gateway: bool) -> None:
    given = shadowed(has_gateway=has_gateway)
    shadow, stable = given.revision_of("2"), given.revision_of("1")
    assert given.deployments[shadow]["spec"]["replicas"] == 1
    assert shadow in given.cluster.live(kinds.SERVICE)
    assert given.data_plane.reached() == {stable}
    assert [share["revision"] for share in given.status["traffic"]] == [stable]
    if has_gateway:
        assert weights(given) == {"1": 100}
    assert config(given) == {
        stable: {
            "revision": shadow,
            "modelVersion": "2",
            "url": f"http://{shadow}:80",
            "percent": 20,
            "timeoutSeconds": 10.0,
            "maxBodyBytes": 1_048_576,
            "examples": 0,
        }
    }


def test_no_copy_is_sent_before_the_shadow_answers() -> None:
    given = World(has_gateway=True)
    given.registry.aliases[CHALLENGER] = "2"
    given.settle()
    given.spec({"shadow": SHADOW})
    for _ in range(3):
        given.reconcile()
    assert given.revision_of("2") in given.deployments
    assert config(given) == {}
    given.set_ready(given.revision_of("2"))
    given.reconcile()
    assert list(config(given)) == [given.revision_of("1")]
    # From then on, that it does not answer is an error of its own, which counts.
    given.set_ready(given.revision_of("2"), 0)
    given.reconcile()
    assert list(config(given)) == [given.revision_of("1")]


def test_it_shadows_when_pods_report_it_and_not_before() -> None:
    given = shadowed()
    assert given.status["shadow"]["phase"] == "Starting"
    assert given.condition("ShadowReady") == ("False", "ShadowPending")
    assert given.condition("Ready") == ("True", "Ready")
    assert given.shadows.followed is not None
    assert given.shadows.followed.interval == 5.0

    counts = {"requests": 200.0, "errors": 2.0, "compared_rows": 1000.0, "disagreed_rows": 31.0}
    look(given, 2, **counts)
    found = given.status["shadow"]
    assert (found["phase"], found["senders"], found["modelVersion"]) == ("Shadowing", 2, "2")
    assert (found["requests"], found["errors"], found["disagreementPercent"]) == (200, 2, 3.1)
    assert given.condition("ShadowReady") == ("True", "Shadowing")
    assert given.shadows.followed.interval == 30.0

    look(given, 0)
    assert given.status["shadow"]["phase"] == "Starting"


def test_what_was_counted_outlasts_a_restart_of_the_operator() -> None:
    given = shadowed()
    look(given, requests=200)
    before = given.status["shadow"]
    given.restart()
    go_on(given)
    assert given.status["shadow"] == before


def test_without_news_nothing_is_written() -> None:
    given = shadowed()
    look(given, requests=200)
    given.cluster.requests.clear()
    given.reconcile()
    assert given.cluster.requests == [f"get ConfigMap {KEY.name}-shadow"]


def test_no_copy_is_sent_while_the_shadow_has_no_service(monkeypatch: pytest.MonkeyPatch) -> None:
    given = shadowed()
    name, apply = given.revision_of("2"), given.cluster.apply
    given.spec({"shadow": None})
    given.settle()

    async def refuse(kind: kinds.Kind, obj: Json) -> Json:
        if (kind, name_of(obj)) == (kinds.SERVICE, name):
            raise ApiError(403, "Forbidden", "exceeded quota: services, used: 5, limited: 5")
        return await apply(kind, obj)

    with monkeypatch.context() as patch:
        patch.setattr(given.cluster, "apply", refuse)
        given.spec({"shadow": SHADOW})
        go_on(given)
        go_on(given)
    assert config(given) == {}
    assert given.condition("ShadowReady") == ("False", "QuotaExceeded")
    assert given.condition("Ready") == ("True", "Ready")
    go_on(given)
    assert list(config(given)) == [given.revision_of("1")]


def test_a_shadow_that_was_begun_just_before_a_restart_leaves_nothing() -> None:
    given = shadowed()
    given.cluster.edit(kinds.RESOURCE, KEY.name, {"status": {"shadow": None}})
    given.spec({"shadow": None})
    given.restart()
    go_on(given)
    assert config(given) == {}


def test_a_target_that_serves_in_place_of_the_stable_one_is_no_shadow() -> None:
    given = at_the_shadow_step()
    look(given)
    given.set_ready(given.revision_of("1"), 0)
    given.reconcile()
    assert weights(given) == {"1": 0, "2": 100}
    assert config(given) == {}
    assert "shadow" not in given.status
    given.set_ready(given.revision_of("1"))
    go_on(given)
    assert weights(given) == {"1": 100, "2": 0}
    assert list(config(given)) == [given.revision_of("1")]


def test_what_somebody_has_changed_is_put_right() -> None:
    given = shadowed()
    before = config(given)
    patch = {"data": {f"{given.revision_of('1')}.json": '{"url": "http://elsewhere"}'}}
    given.cluster.edit(kinds.CONFIG_MAP, f"{KEY.name}-shadow", patch)
    given.reconcile()
    assert config(given) == before
    given.cluster.remove(kinds.CONFIG_MAP, f"{KEY.name}-shadow")
    given.reconcile()
    assert config(given) == before


def test_a_shadow_that_is_dropped_leaves_nothing() -> None:
    given = shadowed()
    shadow = given.revision_of("2")
    given.spec({"shadow": None})
    go_on(given)
    assert config(given) == {}
    assert shadow not in given.deployments
    assert shadow not in given.cluster.live(kinds.SERVICE)
    assert "shadow" not in given.status
    assert given.shadows.followed is None


def test_another_version_of_the_shadow_takes_its_place() -> None:
    given = shadowed()
    given.registry.aliases[CHALLENGER] = "3"
    go_on(given)
    assert given.status["shadow"]["modelVersion"] == "3"
    assert set(given.deployments) == {given.revision_of("1"), given.revision_of("3")}


def test_a_shadow_that_is_the_stable_version_is_none() -> None:
    given = shadowed(challenger="1")
    assert given.condition("ShadowReady") == ("False", "SameVersion")
    assert given.condition("Ready") == ("True", "Ready")
    assert (config(given), set(given.deployments)) == ({}, {given.revision_of("1")})


@pytest.mark.parametrize(
    ("split", "role"),
    [
        ({"canary": {"uri": "models:/wine/2", "weight": 10}}, "spec.canary"),
        ({"variants": [{"name": "b", "uri": "models:/wine/2", "weight": 10}]}, "variant b"),
    ],
)
def test_a_shadow_of_a_version_with_requests_says_whose_it_is(split: Json, role: str) -> None:
    given = shadowed(challenger="2", **split)
    assert given.condition("ShadowReady") == ("False", "SameVersion")
    message = given.message("ShadowReady")
    assert f"resolves to the version of {role}, which receives requests of its own" in message
    assert "write another URI, or leave out spec.shadow" in message
    assert config(given) == {}


def test_a_shadow_that_is_rolled_out_is_none_from_then_on() -> None:
    given = shadowed(rollout={"steps": [{"pause": {}}, {"weight": 50}, {"pause": {}}]})
    look(given, requests=200)
    given.registry.aliases[ALIAS] = "2"
    go_on(given)
    assert rollout(given)["phase"] == "Paused"
    assert (config(given), given.shadows.followed) == ({}, None)
    assert given.condition("ShadowReady") == ("False", "UpdateInProgress")
    control(given, "promote/1")
    given.settle()
    assert given.status["stable"]["modelVersion"] == "2"
    assert given.condition("ShadowReady") == ("False", "SameVersion")


def test_a_shadow_that_cannot_be_resolved_stays_as_it_was() -> None:
    given = shadowed()
    given.registry.is_down = True
    go_on(given)
    assert given.condition("ShadowReady") == ("False", "RegistryUnreachable")
    assert config(given)
    given.restart()
    go_on(given)
    assert given.status["shadow"]["modelVersion"] == "2"
    assert given.condition("Ready")[0] == "True"


def test_the_old_revision_is_a_shadow_only_when_no_request_reaches_it() -> None:
    given = World(has_gateway=True, shadow={"uri": "models:/wine/1", "percent": 5})
    given.settle()
    old = given.revision_of("1")
    given.registry.aliases[ALIAS] = "2"
    given.reconcile()
    given.set_ready(given.revision_of("2"))
    given.reconcile()
    assert given.status["stable"]["modelVersion"] == "2"
    assert old in given.data_plane.reached()
    assert config(given) == {}
    go_on(given, 70.0)
    go_on(given, 70.0)
    assert list(config(given)) == [given.revision_of("2")]
    assert given.status["shadow"]["revision"] == old


def test_nothing_is_copied_while_the_model_is_stopped() -> None:
    given = shadowed()
    given.spec({"scaling": {"minReplicas": 0}})
    go_on(given)
    assert config(given) == {}
    assert given.status["shadow"]["phase"] == "Stopped"
    assert {d["spec"]["replicas"] for d in given.deployments.values()} == {0}


def test_a_lost_status_makes_no_shadow_serve() -> None:
    given = shadowed()
    stable = given.revision_of("1")
    given.set_ready(stable, 0)
    given.cluster.edit(kinds.RESOURCE, KEY.name, {"status": None})
    given.reconcile()
    assert given.data_plane.reached() == {stable}
    assert given.status["stable"]["revision"] == stable
    assert given.status["shadow"]["modelVersion"] == "2"


def at_the_shadow_step(**rollout: Any) -> World:
    """Version 2 gets copies of 20 %, as far as the operator has said so."""
    given = world(rollout={"steps": STEPS, **rollout})
    given.registry.aliases[ALIAS] = "2"
    go_on(given)
    return given


def test_a_rollout_may_begin_with_a_shadow() -> None:
    given = at_the_shadow_step()
    assert weights(given) == {"1": 100, "2": 0}
    assert rollout(given)["waitingFor"] == "Shadow"
    assert list(config(given)) == [given.revision_of("1")]
    assert config(given)[given.revision_of("1")]["revision"] == given.revision_of("2")
    go_on(given, 6000.0)
    assert rollout(given)["waitingFor"] == "Shadow", "the hold has begun without the pods"

    look(given)
    assert rollout(given)["waitingFor"] == "Hold"
    assert rollout(given)["shadowPercent"] == 20
    assert given.status["shadow"]["phase"] == "Shadowing"
    assert "copies of 20 %" in rollout(given)["message"]
    go_on(given, 599.0)
    assert weights(given) == {"1": 100, "2": 0}
    go_on(given, 2.0)
    go_on(given)
    assert weights(given) == {"1": 90, "2": 10}
    assert (config(given), given.shadows.followed) == ({}, None)
    assert "shadow" not in given.status
    go_on(given, 61.0)
    given.settle()
    assert given.status["stable"]["modelVersion"] == "2"


def test_a_report_that_ends_a_step_counts_until_that_is_recorded() -> None:
    """Another pod needs a PodDisruptionBudget, and what is new is applied before any status."""
    scaling = {"minReplicas": 4}
    given = World(has_gateway=False, rollout={"steps": [{"shadow": {}}]}, scaling=scaling)
    given.settle()
    given.registry.aliases[ALIAS] = "2"
    go_on(given)
    go_on(given)
    assert rollout(given)["waitingFor"] == "Shadow"
    look(given)
    assert rollout(given)["waitingFor"] == "Pods"
    given.settle()
    assert given.status["stable"]["modelVersion"] == "2"


class Died(BaseException):
    """The operator's process has ended."""


@pytest.mark.parametrize("writes", range(8))
def test_the_operator_dies_after_any_write_at_the_end_of_a_shadow_step(
    writes: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    given = at_the_shadow_step()
    look(given)
    given.now += 601.0
    remaining = [writes]

    def mortal(write: Callable[..., Any]) -> Callable[..., Any]:
        async def call(*arguments: Any) -> Any:
            remaining[0] -= 1
            if remaining[0] < 0:
                raise Died
            return await write(*arguments)

        return call

    with monkeypatch.context() as patch, suppress(Died):
        for method in ("apply", "merge", "scale", "delete", "patch_status"):
            patch.setattr(given.cluster, method, mortal(getattr(given.cluster, method)))
        given.reconcile()
    given.restart()
    for _ in range(6):
        go_on(given, 61.0)
        look(given)
    given.settle()
    assert given.status["stable"]["modelVersion"] == "2"
    assert (len(given.deployments), config(given)) == (1, {})


def test_a_pause_after_a_shadow_goes_on_with_it() -> None:
    steps = [{"shadow": {"percent": 5}}, {"pause": {}}, {"weight": 50, "hold": "1m"}]
    given = world(rollout={"steps": steps})
    given.registry.aliases[ALIAS] = "2"
    go_on(given)
    look(given)
    go_on(given)
    assert rollout(given)["phase"] == "Paused"
    assert config(given)
    control(given, "resume/1")
    go_on(given)
    assert weights(given) == {"1": 50, "2": 50}
    assert config(given) == {}


def test_a_shadow_step_has_pods_for_copies_and_the_next_share_at_once() -> None:
    """Pods go on sending copies for a moment after the step."""
    given = world(rollout={"steps": STEPS}, scaling={"minReplicas": 10})
    given.registry.aliases[ALIAS] = "2"
    go_on(given)
    assert given.deployments[given.revision_of("2")]["spec"]["replicas"] == 3


@pytest.mark.parametrize("action", ["abort", "promote"])
def test_a_person_ends_the_shadow(action: str) -> None:
    given = at_the_shadow_step()
    look(given)
    control(given, f"{action}/1")
    assert config(given) == {}
    go_on(given)
    expected = {"abort": {"1": 100}, "promote": {"2": 100}}
    assert weights(given) == expected[action]


def test_a_shadow_step_is_judged_and_a_bad_version_gets_no_request() -> None:
    given = at_the_shadow_step(analysis={"shadow": {"maxDisagreementPercent": 5}})
    assert given.measurements.followed is None
    look(given)
    followed = given.measurements.followed
    assert followed is not None
    assert (followed.is_shadow, followed.weight) == (True, 0)
    assert followed.revisions == (given.revision_of("1"),)
    given.measurements.look(Verdict.BAD)
    given.reconcile()
    assert rollout(given)["phase"] == "Failed"
    assert given.condition("Progressing") == ("False", "AnalysisFailed")
    assert weights(given) == {"1": 100}
    assert config(given) == {}
    go_on(given, 6000.0)
    assert rollout(given)["phase"] == "Failed"


def test_a_shadow_step_waits_for_its_verdict() -> None:
    given = at_the_shadow_step(analysis={})
    look(given)
    go_on(given, 601.0)
    assert rollout(given)["waitingFor"] == "Analysis"
    given.measurements.look(Verdict.GOOD)
    go_on(given)
    assert weights(given) == {"1": 90, "2": 10}
    assert given.measurements.followed is not None
    assert not given.measurements.followed.is_shadow


ROLLOUTS: list[Json] = [
    {"steps": STEPS},
    {"steps": [{"shadow": {"percent": 100}}, {"pause": {}}, {"weight": 50}], "analysis": {}},
    {"strategy": "canary"},
    {"strategy": "direct", "keepOld": "2m"},
]
SHADOWS: list[Json | None] = [
    None,
    {"uri": CHALLENGER, "percent": 50},
    {"uri": "models:/wine/3", "replicas": 2},
]


class AnyCourseOfShadows(AnyCourseOfRollouts):
    """The same with shadows: of the spec, and at steps of a rollout."""

    def __init__(self) -> None:
        super().__init__()
        self.world.registry.aliases[CHALLENGER] = "2"

    @rule(index=st.integers(0, len(ROLLOUTS) - 1))
    def the_rollout_is_edited(self, index: int) -> None:
        has_steps = index < 2
        absent = dict.fromkeys(("strategy", "steps", "keepOld", "analysis"))
        self.world.spec({"rollout": {**absent, **ROLLOUTS[index]}})
        if has_steps:  # the API server takes one or the other
            self.world.spec({"shadow": None})

    @rule(index=st.integers(0, len(SHADOWS) - 1))
    def the_shadow_is_edited(self, index: int) -> None:
        if not any("shadow" in step for step in self.steps()) and self.has_gateway:
            self.world.spec({"shadow": None})
            self.world.spec({"shadow": SHADOWS[index]})

    @rule(version=st.sampled_from(["1", "2", "3"]))
    def the_challenger_moves(self, version: str) -> None:
        self.world.registry.aliases[CHALLENGER] = version

    @rule(senders=st.integers(0, 2))
    def pods_report(self, senders: int) -> None:
        self.world.shadows.look(senders)

    @rule(verdict=st.sampled_from(list(Verdict)))
    def the_metrics_are_looked_at(self, verdict: Verdict) -> None:
        self.world.measurements.look(verdict)

    def steps(self) -> list[Json]:
        steps: list[Json] = self.world.resource["spec"]["rollout"].get("steps") or []
        return steps

    def check_deletion(self, obj: Json) -> None:
        if obj["kind"] != kinds.CONFIG_MAP.kind:
            super().check_deletion(obj)

    def check_traffic(self, before: dict[str, int], answering: set[str], listed: set[str]) -> None:
        super().check_traffic(before, answering, listed)
        self.check_shadow()

    def check_shadow(self) -> None:
        """No share for a shadow, whatever happens; and copies only from the stable revision."""
        given = self.world
        shadow = given.status.get("shadow", {}).get("revision")
        stable = given.status["stable"]["revision"]
        assert shadow not in self.shares()
        assert shadow != stable
        assert shadow not in given.data_plane.by_service()
        copies = config(given)
        assert set(copies) <= {stable}
        assert {entry["revision"] for entry in copies.values()} <= {shadow}
        if copies:
            assert shadow in given.deployments

    def teardown(self) -> None:
        self.world.spec({"shadow": None})
        self.the_rollout_is_edited(len(ROLLOUTS) - 1)
        super().teardown()
        assert config(self.world) == {}


class AnyCourseOfShadowsWithoutGateway(AnyCourseOfShadows):
    has_gateway = False


TestShadows = AnyCourseOfShadows.TestCase
TestShadows.settings = PROFILE
TestShadowsWithoutGateway = AnyCourseOfShadowsWithoutGateway.TestCase
TestShadowsWithoutGateway.settings = PROFILE


def test_the_config_map_has_its_name() -> None:
    found = shadowed().cluster.live(kinds.CONFIG_MAP)
    assert [name_of(obj) for obj in found.values()] == [f"{KEY.name}-shadow"]
