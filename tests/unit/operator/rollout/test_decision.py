"""Table cases for each step of an update, and a simulation that any course of events must obey."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from mlflow_model_operator.api.model_version import ModelVersion
from mlflow_model_operator.rollout import (
    Decision,
    Desired,
    LiveRouting,
    Phase,
    Previous,
    Shadow,
    decide,
)
from mlflow_model_operator.rollout.state import Revision, RevisionState, Weight

DRAIN = 5.0


def revision(name: str) -> Revision:
    return Revision(name, ModelVersion(f"models:/wine/{name}", f"models:/wine/{name}", name))


V3, V4, V5 = revision("3"), revision("4"), revision("5")
READY = RevisionState(desired=2, ready=2)
STARTING = RevisionState(desired=2, ready=0)
PARTLY = RevisionState(desired=2, ready=1)


NOWHERE = LiveRouting()
NOT_ACCEPTED = LiveRouting(route=frozenset({"3"}))  # the gateway still follows the route to 3


def decided(
    desired: Desired,
    previous: Previous,
    routing: LiveRouting = NOWHERE,
    now: float = 1000.0,
    **states: RevisionState,
) -> Decision:
    by_name = {name.removeprefix("v"): state for name, state in states.items()}
    return decide(desired, previous, by_name, routing=routing, now=now, drain_delay=DRAIN)


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
    decision = decided(Desired(V4), serving(V4, v3=900.0), NOT_ACCEPTED, v3=READY, v4=READY)
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


def test_a_stable_revision_that_vanished_keeps_the_place_until_the_target_answers() -> None:
    starting = decided(Desired(V4), serving(V3), v4=STARTING)
    assert (starting.stable, starting.traffic) == (V3, (("3", 100),))
    assert starting.phase == Phase.UPDATING
    assert decided(Desired(V4), serving(V3), v4=PARTLY).stable == V4


def test_a_target_with_some_pods_takes_over_from_what_has_none() -> None:
    assert decided(Desired(V4), serving(V3), v3=STARTING, v4=PARTLY).stable == V4
    assert decided(Desired(V4), serving(V3), v3=PARTLY, v4=PARTLY).stable == V3


def test_a_new_revision_that_fails_while_the_old_one_drains_gives_the_traffic_back() -> None:
    previous = replace(serving(V4, v3=999.0), fallbacks=(V3,))
    decision = decided(Desired(V4), previous, v3=READY, v4=STARTING)
    assert (decision.stable, decision.target) == (V3, V4)
    assert decision.traffic == (("3", 100),)
    assert decision.retained == {"3", "4"}


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


def test_a_stopped_resource_keeps_its_stable_revision_until_another_is_ready() -> None:
    stopped = RevisionState(0, 0)
    decision = decided(Desired(V4, stopped=True), serving(V3), v3=stopped, v4=stopped)
    assert (decision.stable, decision.target, decision.phase) == (V3, V4, Phase.STOPPED)
    started = decided(Desired(V4), serving(V3), v3=STARTING, v4=STARTING)
    assert (started.stable, started.traffic) == (V3, (("3", 100),))
    assert decided(Desired(V4), serving(V3), v3=READY, v4=STARTING).stable == V3
    assert decided(Desired(V4), serving(V3), v3=READY, v4=READY).stable == V4


def test_a_resource_that_starts_stopped_has_its_target_as_the_stable_one() -> None:
    assert decided(Desired(V4, stopped=True), Previous()).stable == V4


def test_a_stable_revision_without_pods_gets_no_weight_while_the_canary_answers() -> None:
    desired = Desired(V3, canary=V4, canary_weight=50)
    previous = Previous(V3, (Weight("3", 50), Weight("4", 50)))
    assert decided(desired, previous, v3=STARTING, v4=PARTLY).traffic == (("4", 100),)
    assert decided(desired, previous, v3=PARTLY, v4=PARTLY).traffic == (("3", 50), ("4", 50))
    assert decided(desired, previous, v3=STARTING, v4=STARTING).traffic == (("3", 100),)


def test_a_canary_that_is_to_get_nothing_gets_nothing_whatever_happens() -> None:
    desired = Desired(V3, canary=V4, canary_weight=0)
    assert decided(desired, serving(V3), v3=STARTING, v4=READY).traffic == (("3", 100),)


def test_a_service_splits_the_traffic_only_between_revisions_that_are_alone() -> None:
    desired = Desired(V5, canary=V4, canary_weight=50, splits_by_weight=False)
    previous = Previous(V3, (Weight("3", 50), Weight("4", 50)))
    pending = decided(desired, previous, v3=READY, v4=READY, v5=PARTLY)
    assert pending.traffic == (("3", 100),)
    draining = decided(desired, serving(V5, v3=999.0), v3=READY, v4=READY, v5=READY)
    assert draining.traffic == (("5", 100),)
    alone = decided(desired, serving(V5), v4=READY, v5=READY)
    assert alone.traffic == (("5", 50), ("4", 50))


def test_a_drain_that_began_in_the_future_begins_now() -> None:
    decision = decided(Desired(V4), serving(V4, v3=99_000.0), v3=READY, v4=READY)
    assert decision.draining == {"3": 1000.0}


def test_what_the_service_still_leads_to_stays_whatever_the_status_says() -> None:
    routing = LiveRouting(service=frozenset({"3"}))
    decision = decided(Desired(V4), serving(V4), routing, v3=READY, v4=READY)
    assert decision.retained == {"3", "4"}
    assert decision.requeue_after == DRAIN


def test_what_the_route_leads_to_no_more_goes_though_the_gateway_is_silent() -> None:
    routing = LiveRouting(route=frozenset({"3"}), lag=60.0)
    previous = Previous(V5, (Weight("5", 100),), {"3": 900.0, "4": 900.0})
    decision = decided(Desired(V5), previous, routing, v3=READY, v4=READY, v5=READY)
    assert set(decision.draining) == {"3"}


def test_a_shadow_stays_and_has_no_share() -> None:
    shadow = Shadow(V5, 10, replicas=1)
    decision = decided(Desired(V3, shadow=shadow), serving(V3), v3=READY, v5=READY)
    assert decision.shadow == shadow
    assert decision.traffic == (("3", 100),)
    assert decision.retained == {"3", "5"}
    assert decision.phase == Phase.STABLE


def test_a_revision_that_serves_or_did_so_a_moment_ago_is_no_shadow() -> None:
    for revision_, previous in ((V4, serving(V4)), (V3, serving(V4, v3=999.0))):
        desired = Desired(V4, shadow=Shadow(revision_, 10))
        decision = decided(desired, previous, v3=READY, v4=READY)
        assert decision.shadow is None
    kept = Desired(V4, shadow=Shadow(V3, 10), keep_delay=3600.0)
    assert decided(kept, serving(V4, v3=900.0), v3=READY, v4=READY).shadow == kept.shadow


def test_what_requests_still_reach_is_no_shadow_though_its_pods_are_gone() -> None:
    desired = Desired(V4, shadow=Shadow(V3, 10))
    routing = LiveRouting(service=frozenset({"3"}))
    assert decided(desired, serving(V4), routing, v4=READY).shadow is None
    assert decided(desired, serving(V4), v4=READY).shadow == desired.shadow


NAMES = st.sampled_from(["3", "4", "5"])


@dataclass
class World:
    """What a cluster would do with the decisions: revisions appear, get ready, fail, and go."""

    previous: Previous = field(default_factory=Previous)
    states: dict[str, RevisionState] = field(default_factory=dict)
    asked: tuple[Weight, ...] = ()  # what the Service and the route were told last
    service: frozenset[str] = frozenset()  # what they do
    route: frozenset[str] = frozenset()
    now: float = 0.0
    is_service_frozen: bool = False

    @property
    def reached(self) -> frozenset[str]:
        return self.service | self.route


class AnyCourseOfEvents(RuleBasedStateMachine):
    """Reconciles between random events, each time from the previous status and what is live."""

    has_gateway = True

    def __init__(self) -> None:
        super().__init__()
        self.world = World()
        self.desired = Desired(V3, splits_by_weight=self.has_gateway)
        self.last: Decision | None = None

    @rule(name=NAMES)
    def alias_moves(self, name: str) -> None:
        self.desired = replace(self.desired, target=revision(name))

    @rule(canary=NAMES, weight=st.integers(0, 100))
    def canary_is_set(self, canary: str, weight: int) -> None:
        self.desired = replace(self.desired, canary=revision(canary), canary_weight=weight)

    @rule()
    def canary_is_removed(self) -> None:
        self.desired = replace(self.desired, canary=None, canary_weight=0)

    @rule(name=NAMES)
    def a_shadow_is_set(self, name: str) -> None:
        if self.has_gateway:  # else a Service for several revisions would select it too
            self.desired = replace(self.desired, shadow=Shadow(revision(name), 10, replicas=1))

    @rule()
    def the_shadow_is_removed(self) -> None:
        self.desired = replace(self.desired, shadow=None)

    @rule(stopped=st.booleans())
    def it_is_stopped_or_started(self, stopped: bool) -> None:
        self.desired = replace(self.desired, stopped=stopped)
        replicas = 0 if stopped else 2
        self.world.states = {
            name: RevisionState(replicas, min(state.ready, replicas))
            for name, state in self.world.states.items()
        }

    @rule(name=NAMES, ready=st.integers(0, 2))
    def pods_change(self, name: str, ready: int) -> None:
        if name in self.world.states:
            desired = self.world.states[name].desired
            self.world.states[name] = RevisionState(desired, min(ready, desired))

    @rule(name=NAMES)
    def a_deployment_is_deleted(self, name: str) -> None:
        self.world.states.pop(name, None)

    @rule()
    def gateway_takes_the_route(self) -> None:
        if self.has_gateway:
            self.world.route = frozenset(share.revision for share in self.world.asked)

    @rule(frozen=st.booleans())
    def a_policy_freezes_the_service(self, frozen: bool) -> None:
        self.world.is_service_frozen = frozen

    @rule()
    def status_is_lost(self) -> None:
        """What is left is what the Service and the route show (plan/previous.py)."""
        world = self.world
        existing = [name for name in sorted(world.reached) if name in world.states]
        stable = revision(existing[0]) if existing else None
        others = [name for name in world.states if stable and name != stable.name]
        world.previous = Previous(
            stable,
            (Weight(stable.name, 100),) if stable else (),
            dict.fromkeys(others, world.now),
            fallbacks=tuple(revision(name) for name in others),
        )

    @rule(seconds=st.floats(0, 10))
    def time_passes(self, seconds: float) -> None:
        self.world.now += seconds

    @rule()
    def reconcile(self) -> None:
        world = self.world
        decision = decide(
            self.desired,
            world.previous,
            world.states,
            routing=LiveRouting(world.service, world.route),
            now=world.now,
            drain_delay=DRAIN,
        )
        self._check(decision)
        self._apply(decision)
        self.last = decision

    def _apply(self, decision: Decision) -> None:
        world = self.world
        world.previous = Previous(
            decision.stable,
            decision.traffic,
            decision.draining,
            fallbacks=tuple(revision(name) for name in decision.draining),
        )
        replicas = 0 if self.desired.stopped else 2
        gone = RevisionState(replicas, 0)
        shadow = self.desired.shadow.revision if self.desired.shadow else None
        roles = (self.desired.target, self.desired.canary, shadow)
        renderable = {entry.name for entry in roles if entry}
        world.states = {
            name: world.states.get(name, gone)
            for name in decision.retained
            if name in world.states or name in renderable
        }
        world.asked = decision.traffic
        if not world.is_service_frozen:
            shares = decision.traffic[:1] if self.has_gateway else decision.traffic
            world.service = frozenset(share.revision for share in shares)

    def _check(self, decision: Decision) -> None:
        world = self.world
        assert sum(share.weight for share in decision.traffic) == 100
        assert all(share.weight > 0 for share in decision.traffic)
        serving = {share.revision for share in decision.traffic}
        assert serving <= decision.retained
        self._never_to_a_revision_without_ready_pods_while_another_has_some(decision, serving)
        self._never_to_what_is_not_ready_while_what_serves_answers(decision, serving)
        removed = set(world.states) - decision.retained
        assert not removed & world.reached, "a revision was removed that requests still reach"
        had_traffic = {share.revision for share in world.previous.traffic}
        assert not removed & had_traffic, "a revision was removed in the step that took its traffic"
        self._never_a_shadow_that_serves(decision, serving)

    def _never_a_shadow_that_serves(self, decision: Decision, serving: set[str]) -> None:
        if decision.shadow is None:
            return
        name = decision.shadow.revision.name
        assert name not in serving | self.world.reached
        assert name not in {decision.stable.name, decision.target.name}
        assert name in decision.retained

    def _never_to_a_revision_without_ready_pods_while_another_has_some(
        self, decision: Decision, serving: set[str]
    ) -> None:
        """A canary at 0 % is no other: its owner wants it to get nothing."""
        if self.desired.stopped:
            return
        cold = decision.canary.name if decision.canary and not self.desired.canary_weight else None
        others = {decision.stable.name, decision.target.name, *self.world.previous.draining}
        if decision.canary:
            others.add(decision.canary.name)
        answers = {name for name, state in self.world.states.items() if state.answers}
        if answers & others - {cold}:
            assert serving <= answers

    def _never_to_what_is_not_ready_while_what_serves_answers(
        self, decision: Decision, serving: set[str]
    ) -> None:
        before = self.world.previous
        answers = {name for name, state in self.world.states.items() if state.answers}
        served = {share.revision for share in before.traffic}
        if before.stable is None or before.stable.name not in answers:
            return
        for name in serving - served - {before.stable.name}:
            assert self.world.states[name].is_ready

    @invariant()
    def the_stable_revision_is_always_retained(self) -> None:
        if self.last is not None:
            assert self.last.stable.name in self.last.retained


class AnyCourseOfEventsWithoutGateway(AnyCourseOfEvents):
    """The same where only the Service leads to pods, of one revision or of all."""

    has_gateway = False

    def _check(self, decision: Decision) -> None:
        super()._check(decision)
        if len(decision.traffic) > 1:
            assert set(self.world.states) == {share.revision for share in decision.traffic}


TestWithoutGateway = AnyCourseOfEventsWithoutGateway.TestCase
TestWithoutGateway.settings = hypothesis_settings(max_examples=400, deadline=None)
TestAnyCourseOfEvents = AnyCourseOfEvents.TestCase
TestAnyCourseOfEvents.settings = hypothesis_settings(max_examples=400, deadline=None)


def test_a_revision_that_lost_its_traffic_drains_even_if_it_was_desired_in_between() -> None:
    """Found by the simulation: a canary, then the target, given up before the route was taken."""
    previous = Previous(V3, (Weight("3", 99), Weight("4", 1)))
    lagging = LiveRouting(route=frozenset({"3", "4"}), lag=60.0)
    first = decided(Desired(V4), previous, lagging, v3=READY, v4=STARTING)
    assert set(first.draining) == {"4"}
    assert first.phase == Phase.UPDATING
    again = Previous(first.stable, first.traffic, first.draining)
    second = decided(Desired(V3), again, lagging, v3=READY, v4=STARTING)
    assert "4" in second.retained
