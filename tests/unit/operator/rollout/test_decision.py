"""Table cases for each step of an update, and a simulation that any course of events must obey."""

from __future__ import annotations

from dataclasses import dataclass, field

from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from mlflow_model_operator.api.model_version import ModelVersion
from mlflow_model_operator.rollout import Decision, Desired, Phase, Previous, decide
from mlflow_model_operator.rollout.state import Revision, RevisionState, Weight

DRAIN = 5.0


def revision(name: str) -> Revision:
    return Revision(name, ModelVersion(f"models:/wine/{name}", f"models:/wine/{name}", name))


V3, V4, V5 = revision("3"), revision("4"), revision("5")
READY = RevisionState(desired=2, ready=2)
STARTING = RevisionState(desired=2, ready=0)
PARTLY = RevisionState(desired=2, ready=1)


def decided(
    desired: Desired,
    previous: Previous,
    applied: bool = True,
    now: float = 1000.0,
    **states: RevisionState,
) -> Decision:
    by_name = {name.removeprefix("v"): state for name, state in states.items()}
    return decide(desired, previous, by_name, traffic_applied=applied, now=now, drain_delay=DRAIN)


def serving(stable: Revision, **draining: float) -> Previous:
    since = {name.removeprefix("v"): at for name, at in draining.items()}
    return Previous(stable, (Weight(stable.name, 100),), since)


def test_the_first_revision_gets_the_traffic_before_it_is_ready() -> None:
    decision = decided(Desired(V3), Previous())
    assert decision.stable == V3
    assert decision.traffic == (("3", 100),)
    assert decision.phase == Phase.STARTING


def test_a_new_version_waits_until_all_its_pods_are_ready() -> None:
    decision = decided(Desired(V4), serving(V3), v3=READY, v4=PARTLY)
    assert decision.stable == V3
    assert decision.traffic == (("3", 100),)
    assert decision.retained == {"3", "4"}
    assert decision.phase == Phase.UPDATING


def test_the_weights_move_at_once_when_the_new_version_is_ready() -> None:
    decision = decided(Desired(V4), serving(V3), v3=READY, v4=READY)
    assert decision.traffic == (("4", 100),)
    assert decision.draining == {"3": 1000.0}
    assert decision.phase == Phase.DRAINING


def test_the_old_version_drains_until_the_gateway_has_accepted_the_route() -> None:
    decision = decided(Desired(V4), serving(V4, v3=900.0), applied=False, v3=READY, v4=READY)
    assert "3" in decision.retained


def test_the_old_version_drains_for_the_delay_and_goes() -> None:
    during = decided(Desired(V4), serving(V4, v3=998.0), v3=READY, v4=READY)
    assert "3" in during.retained
    assert during.requeue_after == 3.0
    after = decided(Desired(V4), serving(V4, v3=994.0), v3=READY, v4=READY)
    assert after.retained == {"4"}
    assert after.phase == Phase.STABLE


def test_a_change_back_while_draining_moves_the_weights_back_at_once() -> None:
    decision = decided(Desired(V3), serving(V4, v3=999.0), v3=READY, v4=READY)
    assert decision.traffic == (("3", 100),)
    assert set(decision.draining) == {"4"}


def test_a_version_that_never_had_traffic_goes_without_draining() -> None:
    decision = decided(Desired(V5), serving(V3), v3=READY, v4=STARTING, v5=STARTING)
    assert decision.retained == {"3", "5"}


def test_a_stable_revision_that_vanished_leaves_the_place_to_the_target() -> None:
    decision = decided(Desired(V4), serving(V3), v4=STARTING)
    assert decision.stable == V4


def test_a_canary_gets_its_weight_when_it_is_ready() -> None:
    desired = Desired(V3, canary=V4, canary_weight=10)
    assert decided(desired, serving(V3), v3=READY, v4=PARTLY).traffic == (("3", 100),)
    assert decided(desired, serving(V3), v3=READY, v4=READY).traffic == (("3", 90), ("4", 10))


def test_a_serving_canary_keeps_its_weight_while_one_pod_is_ready() -> None:
    desired = Desired(V3, canary=V4, canary_weight=10)
    previous = Previous(V3, (Weight("3", 90), Weight("4", 10)))
    assert decided(desired, previous, v3=READY, v4=PARTLY).traffic == (("3", 90), ("4", 10))


def test_a_failing_canary_loses_its_weight_and_never_takes_the_stable_down() -> None:
    desired = Desired(V3, canary=V4, canary_weight=10)
    previous = Previous(V3, (Weight("3", 90), Weight("4", 10)))
    decision = decided(desired, previous, v3=READY, v4=STARTING)
    assert decision.traffic == (("3", 100),)
    assert decision.retained == {"3", "4"}


def test_a_canary_at_weight_0_runs_without_traffic_and_at_100_takes_all() -> None:
    cold = decided(Desired(V3, V4, 0), serving(V3), v3=READY, v4=READY)
    assert cold.traffic == (("3", 100),)
    assert cold.retained == {"3", "4"}
    hot = decided(Desired(V3, V4, 100), serving(V3), v3=READY, v4=READY)
    assert (hot.traffic, hot.stable) == ((("4", 100),), V3)


def test_a_promoted_canary_becomes_stable_without_a_wait() -> None:
    previous = Previous(V3, (Weight("3", 90), Weight("4", 10)))
    decision = decided(Desired(V4, canary=V4, canary_weight=10), previous, v3=READY, v4=READY)
    assert (decision.stable, decision.canary) == (V4, None)
    assert decision.traffic == (("4", 100),)
    assert set(decision.draining) == {"3"}


def test_a_canary_equal_to_stable_is_no_canary() -> None:
    assert decided(Desired(V3, V3, 50), serving(V3), v3=READY).canary is None


def test_a_removed_canary_drains() -> None:
    previous = Previous(V3, (Weight("3", 90), Weight("4", 10)))
    decision = decided(Desired(V3), previous, v3=READY, v4=READY)
    assert (decision.traffic, set(decision.draining)) == ((("3", 100),), {"4"})


def test_a_stopped_resource_takes_its_new_template_at_once() -> None:
    decision = decided(Desired(V4, stopped=True), serving(V3), v3=RevisionState(0, 0))
    assert (decision.stable, decision.phase) == (V4, Phase.STOPPED)


NAMES = st.sampled_from(["3", "4", "5"])


@dataclass
class World:
    """What a cluster would do with the decisions: revisions appear, get ready, fail, and go."""

    previous: Previous = field(default_factory=Previous)
    states: dict[str, RevisionState] = field(default_factory=dict)
    route: tuple[Weight, ...] = ()  # what the data plane does
    now: float = 0.0


class AnyCourseOfEvents(RuleBasedStateMachine):
    """Reconciles between random events, each time from the previous status alone."""

    def __init__(self) -> None:
        super().__init__()
        self.world = World()
        self.desired = Desired(V3)
        self.last: Decision | None = None

    @rule(name=NAMES)
    def alias_moves(self, name: str) -> None:
        self.desired = Desired(revision(name), self.desired.canary, self.desired.canary_weight)

    @rule(canary=NAMES, weight=st.integers(0, 100))
    def canary_is_set(self, canary: str, weight: int) -> None:
        self.desired = Desired(self.desired.target, revision(canary), weight)

    @rule()
    def canary_is_removed(self) -> None:
        self.desired = Desired(self.desired.target)

    @rule(name=NAMES, ready=st.integers(0, 2))
    def pods_change(self, name: str, ready: int) -> None:
        if name in self.world.states:
            self.world.states[name] = RevisionState(2, ready)

    @rule()
    def gateway_takes_the_route(self) -> None:
        self.world.route = self.world.previous.traffic

    @rule(seconds=st.floats(0, 10))
    def time_passes(self, seconds: float) -> None:
        self.world.now += seconds

    @rule()
    def reconcile(self) -> None:
        world = self.world
        before = dict(world.states)
        decision = decide(
            self.desired,
            world.previous,
            world.states,
            traffic_applied=world.route == world.previous.traffic,
            now=world.now,
            drain_delay=DRAIN,
        )
        self._check(decision, before)
        world.previous = Previous(decision.stable, decision.traffic, decision.draining)
        world.states = {
            name: world.states.get(name, RevisionState(2, 0)) for name in decision.retained
        }
        self.last = decision

    def _check(self, decision: Decision, states: dict[str, RevisionState]) -> None:
        assert sum(share.weight for share in decision.traffic) == 100
        assert all(share.weight > 0 for share in decision.traffic)
        serving_now = {share.revision for share in decision.traffic}
        assert serving_now <= decision.retained
        self._never_to_a_revision_that_is_not_ready(decision, serving_now, states)
        removed = set(states) - decision.retained
        routed = {share.revision for share in self.world.route}
        had_traffic = {share.revision for share in self.world.previous.traffic}
        assert not removed & had_traffic, "a revision was removed in the step that took its traffic"
        if self.world.route:
            assert not removed & routed, "a revision was removed while the route still led to it"

    def _never_to_a_revision_that_is_not_ready(
        self, decision: Decision, serving_now: set[str], states: dict[str, RevisionState]
    ) -> None:
        before = self.world.previous
        served = {share.revision for share in before.traffic}
        for name in serving_now - served - {decision.stable.name}:
            assert states[name].is_ready
        has_moved = before.stable is not None and before.stable != decision.stable
        if has_moved and before.stable is not None and before.stable.name in states:
            assert states[decision.stable.name].is_ready

    @invariant()
    def the_stable_revision_always_exists(self) -> None:
        if self.last is not None:
            assert self.last.stable.name in self.last.retained


TestAnyCourseOfEvents = AnyCourseOfEvents.TestCase
TestAnyCourseOfEvents.settings = hypothesis_settings(max_examples=400, deadline=None)


def test_a_revision_that_lost_its_traffic_drains_even_if_it_was_desired_in_between() -> None:
    """Found by the simulation: a canary, then the target, given up before the route was taken."""
    previous = Previous(V3, (Weight("3", 99), Weight("4", 1)))
    first = decided(Desired(V4), previous, applied=False, v3=READY, v4=STARTING)
    assert set(first.draining) == {"4"}
    assert first.phase == Phase.UPDATING
    again = Previous(first.stable, first.traffic, first.draining)
    second = decided(Desired(V3), again, applied=False, v3=READY, v4=STARTING)
    assert "4" in second.retained
