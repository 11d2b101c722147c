"""Rollouts with an analysis, by the real reconciler; the tests say what the metrics say."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import rule

from mlflow_model_operator.kube import kinds
from mlflow_model_operator.rollout.progress import Verdict
from mlflow_model_operator.settings import PolicySettings, Settings
from tests.unit.operator.simulation.cluster import KEY, Json
from tests.unit.operator.simulation.operator import ALIAS, SETTINGS, World
from tests.unit.operator.simulation.profile import PROFILE
from tests.unit.operator.simulation.test_rollouts import (
    AnyCourseOfRollouts,
    control,
    go_on,
    rollout,
    weights,
    world,
)

STEPS = [{"weight": 10, "hold": "1m"}, {"weight": 50, "hold": "1m"}]
QUERY = {"name": "cost", "url": "http://prometheus:9090", "query": "cost", "max": 1}


def at_the_first_step(**analysis: Any) -> World:
    """Version 2 has had 10 % for a moment, and is measured."""
    given = world(rollout={"steps": STEPS, "keepOld": "10m", "analysis": analysis})
    given.registry.aliases[ALIAS] = "2"
    go_on(given)
    assert weights(given) == {"1": 90, "2": 10}
    return given


def look(given: World, verdict: Verdict) -> None:
    given.measurements.look(verdict)
    given.reconcile()


def test_only_a_rollout_that_holds_a_step_is_measured() -> None:
    given = world(rollout={"steps": STEPS, "analysis": {}})
    assert given.measurements.followed is None
    given.registry.aliases[ALIAS] = "2"
    given.reconcile()
    assert given.measurements.followed is None
    go_on(given)
    followed = given.measurements.followed
    assert followed is not None
    assert (followed.step.stable, followed.step.target) == (
        given.revision_of("1"),
        given.revision_of("2"),
    )
    assert (followed.weight, followed.steps, followed.step.step) == (10, 2, 0)
    assert followed.until == followed.step.since + 60
    control(given, "promote/1")
    given.settle()
    assert given.status["stable"]["modelVersion"] == "2"
    assert given.measurements.followed is None


def test_a_rollout_without_an_analysis_is_not_measured() -> None:
    given = world(rollout={"steps": STEPS})
    given.registry.aliases[ALIAS] = "2"
    go_on(given)
    assert weights(given) == {"1": 90, "2": 10}
    assert given.measurements.followed is None


def test_a_good_version_takes_over_when_each_step_is_good() -> None:
    given = at_the_first_step()
    look(given, Verdict.GOOD)
    assert weights(given)["2"] == 10
    go_on(given, 60.0)
    go_on(given)
    assert weights(given)["2"] == 50
    go_on(given, 600.0)
    assert rollout(given)["waitingFor"] == "Analysis", "what was good at one step is not at another"
    look(given, Verdict.GOOD)
    given.settle()
    assert given.status["stable"]["modelVersion"] == "2"


def test_a_bad_version_is_turned_back_in_the_same_reconcile_and_remembered() -> None:
    given = at_the_first_step()
    look(given, Verdict.BAD)
    assert weights(given) == {"1": 100}
    assert rollout(given)["phase"] == "Failed"
    assert given.condition("Progressing") == ("False", "AnalysisFailed")
    assert "was rolled back: errors are bad. Version 1 is still served" in given.message(
        "Progressing"
    )
    failed = rollout(given)["failed"][0]
    assert (failed["modelVersion"], failed["reason"]) == ("2", "AnalysisFailed")
    assert rollout(given)["analysis"]["verdict"] == "Bad"
    assert given.measurements.followed is None
    assert set(given.deployments) == {failed["revision"], given.status["stable"]["revision"]}
    go_on(given, 300.0)
    given.restart()
    go_on(given)
    assert rollout(given)["phase"] == "Failed"
    assert rollout(given)["analysis"]["message"] == "errors are bad"
    assert given.status["history"][-1]["verdict"] == "Failed"

    control(given, "retry/1")
    go_on(given)
    assert weights(given) == {"1": 90, "2": 10}


def test_what_is_not_known_to_be_good_is_waited_for() -> None:
    given = at_the_first_step()
    look(given, Verdict.INCONCLUSIVE)
    assert rollout(given)["waitingFor"] == "Hold"
    go_on(given, 60.0)
    assert rollout(given)["waitingFor"] == "Analysis"
    assert given.condition("Progressing") == ("True", "AnalysisInconclusive")
    assert "errors are inconclusive" in given.message("Progressing")
    go_on(given, 6000.0)
    assert weights(given)["2"] == 10

    control(given, "resume/1")
    go_on(given)
    assert weights(given)["2"] == 50


def test_a_person_who_resumes_during_the_hold_does_not_go_on_without_a_verdict() -> None:
    given = at_the_first_step()
    control(given, "pause/1")
    control(given, "resume/2")
    go_on(given, 60.0)
    go_on(given)
    assert (weights(given)["2"], rollout(given)["waitingFor"]) == (10, "Analysis")


@pytest.mark.parametrize(("what", "weight"), [("Promote", 50), ("RollBack", 0)])
def test_the_spec_says_what_becomes_of_a_step_without_a_verdict(what: str, weight: int) -> None:
    given = at_the_first_step(onInconclusive=what)
    look(given, Verdict.INCONCLUSIVE)
    go_on(given, 60.0)
    assert rollout(given)["waitingFor"] == "Analysis", "not before a look at its end"
    look(given, Verdict.INCONCLUSIVE)
    go_on(given)
    assert weights(given).get("2", 0) == weight
    if what == "RollBack":
        assert given.condition("Progressing") == ("False", "AnalysisInconclusive")


@pytest.mark.parametrize("what", ["Wait", "Promote", "RollBack"])
def test_an_operator_that_has_lost_the_window_knows_nothing(what: str) -> None:
    given = at_the_first_step(onInconclusive=what)
    look(given, Verdict.GOOD)
    given.restart()
    go_on(given, 60.0)
    go_on(given)
    assert (weights(given)["2"], rollout(given)["waitingFor"]) == (10, "Analysis")
    assert given.measurements.followed is not None
    look(given, Verdict.GOOD)
    go_on(given)
    assert weights(given)["2"] == 50


def test_a_dry_run_only_says_so() -> None:
    given = at_the_first_step(dryRun=True)
    look(given, Verdict.BAD)
    assert weights(given)["2"] == 10
    analysis = rollout(given)["analysis"]
    assert (analysis["verdict"], analysis["dryRun"]) == ("Bad", True)
    go_on(given, 60.0)
    go_on(given)
    assert weights(given)["2"] == 50


def test_a_paused_step_is_measured_and_turned_back_too() -> None:
    given = at_the_first_step()
    control(given, "pause/1")
    assert given.measurements.followed is not None
    look(given, Verdict.BAD)
    assert weights(given) == {"1": 100}


def test_the_status_has_desired_accepted_and_observed_weight() -> None:
    given = at_the_first_step()
    look(given, Verdict.INCONCLUSIVE)
    found = rollout(given)
    assert (found["weight"], found["acceptedWeight"], found["observedWeight"]) == (10, 10, 9)
    given.data_plane.gateway_looks("False")
    given.reconcile()
    assert "acceptedWeight" not in rollout(given)


def test_without_a_new_look_nothing_is_written() -> None:
    given = at_the_first_step()
    look(given, Verdict.INCONCLUSIVE)
    given.cluster.requests.clear()
    for _ in range(3):
        given.now += 1
        given.reconcile()
    assert given.cluster.requests == []


def test_another_analysis_starts_the_rollout_from_the_first_step() -> None:
    given = at_the_first_step()
    look(given, Verdict.BAD)
    given.spec({"rollout": {"analysis": {"confidence": 99}}})
    go_on(given)
    assert weights(given) == {"1": 90, "2": 10}


def test_a_prometheus_that_is_not_allowed_holds_the_rollout_before_its_first_share() -> None:
    given = world(rollout={"steps": STEPS, "analysis": {"queries": [QUERY]}})
    given.registry.aliases[ALIAS] = "2"
    go_on(given)
    assert weights(given) == {"1": 100, "2": 0}
    assert given.condition("Progressing") == ("False", "PolicyDenied")
    assert "chart value policy.prometheusUrls" in given.message("Progressing")

    given.settings = allowing("http://prometheus:9090")
    given.restart()
    go_on(given)
    assert weights(given) == {"1": 90, "2": 10}


def test_a_prometheus_that_is_allowed_no_more_is_not_asked() -> None:
    given = world(rollout={"steps": STEPS, "analysis": {"queries": [QUERY]}})
    given.settings = allowing("http://prometheus:9090")
    given.restart()
    given.registry.aliases[ALIAS] = "2"
    go_on(given)
    assert given.measurements.followed is not None
    given.settings = SETTINGS
    given.restart()
    go_on(given, 60.0)
    assert given.measurements.followed is None
    assert (weights(given)["2"], rollout(given)["waitingFor"]) == (10, "Analysis")


def allowing(url: str) -> Settings:
    return Settings(
        tracking_uri=SETTINGS.tracking_uri,
        scoring_images=SETTINGS.scoring_images,
        policy=PolicySettings(prometheus_urls=(url,)),
    )


ANALYSES: list[Json | None] = [None, {}, {"onInconclusive": "Promote"}, {"dryRun": True}]


class AnyCourseOfAnalyses(AnyCourseOfRollouts):
    """The same, with verdicts that are bad, missing, or change from look to look."""

    @rule(index=st.integers(0, len(ANALYSES) - 1))
    def the_analysis_is_edited(self, index: int) -> None:
        self.world.spec({"rollout": {"analysis": ANALYSES[index]}})

    @rule(verdict=st.sampled_from(list(Verdict)))
    def the_metrics_are_looked_at(self, verdict: Verdict) -> None:
        self.world.measurements.look(verdict)

    def check_wait(self) -> None:
        """Besides: nothing is measured but a rollout that holds a step."""
        super().check_wait()
        if self.world.measurements.followed is not None:
            assert rollout(self.world)["phase"] in ("Progressing", "Paused")

    @rule()
    def a_bad_version_has_no_requests_after_one_reconcile(self) -> None:
        given = self.world
        given.cluster.deliver()
        self.it_reconciles()
        followed = given.measurements.followed
        if followed is None or followed.analysis.dry_run:
            return
        if not given.data_plane.ready(followed.step.stable):
            return
        given.measurements.look(Verdict.BAD)
        self.it_reconciles()
        if given.status["rollout"]["phase"] != "Stopped":
            assert followed.step.target not in self.shares()

    def teardown(self) -> None:
        """Nobody measures any more."""
        self.world.spec({"rollout": {"analysis": None}})
        super().teardown()


TestAnalyses = AnyCourseOfAnalyses.TestCase
TestAnalyses.settings = PROFILE


def test_the_route_is_what_the_weights_are_read_from() -> None:
    assert KEY.name in at_the_first_step().cluster.live(kinds.ROUTE)
