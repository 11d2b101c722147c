"""Table cases for each transition of a rollout in steps, and any course of events."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from mlflow_model_operator.api.reasons import Reason
from mlflow_model_operator.rollout.exchange import Exchange
from mlflow_model_operator.rollout.progress import (
    TRANSITIONS,
    Action,
    Advance,
    Cause,
    Control,
    Earlier,
    Observation,
    Obstacle,
    OnInconclusive,
    Progress,
    Rejection,
    Stage,
    Trigger,
    Verdict,
    advance,
    is_overdue,
    load_with_copies,
    next_weight,
    parse_control,
    shadow_of,
)
from mlflow_model_operator.rollout.state import RevisionState
from mlflow_model_operator.rollout.steps import Schedule, Step, required_replicas

NOW = 1000.0
STEPS: Schedule = (Step(10, 60.0), Step(10, math.inf), Step(50, 60.0))
READY = RevisionState(desired=4, ready=4)
MISSING_TAG = Obstacle(Reason.TAGS_MISSING, "it lacks a tag")
BAD_MODEL = Rejection(Reason.MODEL_LOAD_FAILED, "it does not load", NOW)


def seen(**changes: Any) -> Observation:
    """All is well, and the route lists the target with weight 0."""
    return replace(
        Observation(
            now=NOW,
            target="new",
            stable="old",
            steps=STEPS,
            schedule="s1",
            has_gates=False,
            target_state=READY,
            stable_answers=True,
            stable_replicas=4,
            weights={"old": 100, "new": 0},
            requested={"old": 100, "new": 0},
        ),
        **changes,
    )


def with_weight(weight: int, **changes: Any) -> Observation:
    """All is well, and the gateway has this weight."""
    weights = {"old": 100 - weight, "new": weight}
    return seen(weights=weights, requested=weights, **changes)


def at(stage: Stage = Stage.PREPARING, step: int = -1, **changes: Any) -> Progress:
    started = {"step_started_at": NOW} if step >= 0 else {}
    return Progress("new", "s1", NOW, 4, stage, step, **{**started, **changes})


def progress_of(result: Advance) -> Progress:
    assert result.progress is not None
    return result.progress


def test_there_is_no_rollout_where_the_target_is_stable_or_takes_over_at_once() -> None:
    assert advance(None, seen(target="old")) == Advance(None)
    assert advance(None, seen(steps=())) == Advance(None)


@pytest.mark.parametrize(
    ("changes", "cause"),
    [
        ({"obstacle": MISSING_TAG}, Cause.GATES),
        ({"target_state": RevisionState(desired=1, ready=0)}, Cause.PODS),
        ({"target_state": RevisionState(desired=4, ready=3)}, Cause.PODS),
        ({"stable_answers": False}, Cause.STABLE),
        ({"weights": None}, Cause.ROUTE),
        ({"weights": {"old": 100}}, Cause.ROUTE),
    ],
)
def test_a_target_gets_no_share_before_all_is_ready(changes: dict[str, Any], cause: Cause) -> None:
    result = advance(None, seen(**changes))
    assert (progress_of(result).stage, progress_of(result).waiting_for) == (Stage.PREPARING, cause)
    assert result.weight == 0


def test_pods_that_are_exchanged_have_a_time_to_get_ready() -> None:
    lacking = {"target_state": RevisionState(desired=1, ready=0), "weights": {"old": 100}}
    observed = seen(exchange=Exchange(1, 0), steps=(), ready_timeout=60.0, **lacking)
    begun = advance(None, observed)
    assert (progress_of(begun).unready_since, begun.requeue_after) == (NOW, 60.0)
    later = advance(begun.progress, replace(observed, now=NOW + 59.0))
    assert (progress_of(later).unready_since, later.requeue_after) == (NOW, 1.0)
    late = advance(later.progress, replace(observed, now=NOW + 61.0))
    assert late.requeue_after is None
    assert is_overdue(progress_of(late), 60.0, NOW + 61.0)
    ready = replace(observed, target_state=RevisionState(desired=1, ready=1))
    assert progress_of(advance(late.progress, ready)).unready_since is None
    kept_back = replace(observed, obstacle=MISSING_TAG)
    assert progress_of(advance(begun.progress, kept_back)).unready_since is None


def test_a_ready_target_gets_the_first_weight() -> None:
    result = advance(None, seen())
    assert (result.weight, progress_of(result).step) == (10, 0)
    assert progress_of(result).waiting_for == Cause.ROUTE


def test_a_weight_is_held_from_when_the_gateway_has_it() -> None:
    waiting = advance(at(Stage.PROGRESSING, 0, step_started_at=None), seen())
    assert progress_of(waiting).waiting_for == Cause.ROUTE
    held = advance(waiting.progress, with_weight(10, now=NOW + 5))
    assert progress_of(held).step_started_at == NOW + 5
    assert (progress_of(held).waiting_for, held.requeue_after) == (Cause.HOLD, 60.0)


SHADOWED: Schedule = (Step(0, 60.0, shadow=20), Step(10, 60.0), Step(50, 60.0))


def test_a_shadow_is_held_from_when_pods_send_copies() -> None:
    waiting = advance(None, seen(steps=SHADOWED))
    assert (waiting.weight, progress_of(waiting).waiting_for) == (0, Cause.SHADOW)
    assert shadow_of(progress_of(waiting), SHADOWED) == 20
    later = advance(waiting.progress, seen(steps=SHADOWED, now=NOW + 600))
    assert progress_of(later).step_started_at is None
    held = advance(later.progress, seen(steps=SHADOWED, now=NOW + 600, is_shadowing=True))
    assert (progress_of(held).waiting_for, held.requeue_after) == (Cause.HOLD, 60.0)
    following = advance(held.progress, seen(steps=SHADOWED, now=NOW + 660))
    assert (following.weight, progress_of(following).step) == (10, 1)
    assert shadow_of(progress_of(following), SHADOWED) == 0


def test_copies_do_not_replace_the_route_that_lists_the_target() -> None:
    result = advance(None, seen(steps=SHADOWED, weights={"old": 100}, is_shadowing=True))
    assert progress_of(result).waiting_for == Cause.ROUTE


@pytest.mark.parametrize(
    ("step", "load"),
    # Before: the copies and the first weight. At the first weight, copies may still arrive.
    [(-1, 30), (0, 30), (1, 70), (2, 0)],
)
def test_pods_are_there_for_copies_and_the_next_weight(step: int, load: int) -> None:
    progress = at(Stage.PROGRESSING if step >= 0 else Stage.PREPARING, step)
    assert load_with_copies(progress, SHADOWED) == load
    assert load_with_copies(progress, STEPS) == 0


def test_a_shadow_that_is_bad_fails_before_any_weight() -> None:
    bad = seen(steps=SHADOWED, is_shadowing=True, verdict=Verdict.BAD, judged_step=0)
    result = advance(at(Stage.PROGRESSING, 0), bad)
    assert (progress_of(result).stage, result.weight) == (Stage.FAILED, 0)


def test_a_pause_waits_for_a_person() -> None:
    paused = advance(at(Stage.PROGRESSING, 0), with_weight(10, now=NOW + 60))
    assert (progress_of(paused).stage, progress_of(paused).step) == (Stage.PAUSED, 1)
    assert (paused.weight, progress_of(paused).waiting_for) == (10, Cause.RESUME)
    assert paused.requeue_after is None
    resumed = advance(paused.progress, with_weight(10, now=NOW + 90, action=Action.RESUME))
    assert (resumed.weight, progress_of(resumed).step) == (50, 2)


def test_a_step_is_not_left_before_the_target_has_pods_for_the_next() -> None:
    few = RevisionState(desired=2, ready=1)
    result = advance(at(Stage.PROGRESSING, 1, resumed_at=NOW), with_weight(10, target_state=few))
    assert (result.weight, progress_of(result).waiting_for) == (10, Cause.PODS)


def test_a_step_is_not_left_while_the_gateway_does_not_follow() -> None:
    progress = at(Stage.PROGRESSING, 1, resumed_at=NOW)
    requested = {"old": 90, "new": 10}
    result = advance(progress, seen(weights=None, requested=requested))
    assert (result.weight, progress_of(result).waiting_for) == (10, Cause.ROUTE)


def test_an_operator_that_ended_before_it_recorded_a_step_takes_the_same_step() -> None:
    progress = at(Stage.PROGRESSING, 1, resumed_at=NOW)
    first = advance(progress, with_weight(10))
    again = advance(progress, seen(weights=None, requested={"old": 50, "new": 50}))
    assert (first.weight, again.weight) == (50, 50)
    assert first.progress == again.progress


def test_after_the_last_step_the_target_takes_over_with_all_its_pods() -> None:
    last = at(Stage.PROGRESSING, 2, step_started_at=NOW - 60)
    few = advance(last, with_weight(50, target_state=RevisionState(desired=4, ready=3)))
    assert (progress_of(few).stage, progress_of(few).waiting_for) == (Stage.PROMOTING, Cause.PODS)
    assert (few.weight, few.takes_over) == (50, False)
    assert advance(few.progress, with_weight(50)).takes_over


def test_a_target_that_loses_its_pods_holds_its_weight_again_from_when_it_has_them() -> None:
    down = advance(
        at(Stage.PROGRESSING, 0), with_weight(10, target_state=RevisionState(desired=1, ready=0))
    )
    assert progress_of(down).waiting_for == Cause.PODS
    assert progress_of(down).step_started_at is None
    back = advance(down.progress, with_weight(10, now=NOW + 500))
    assert back.requeue_after == 60.0


def test_a_clock_that_jumps_back_holds_no_longer_than_the_step_says() -> None:
    jumped = advance(at(Stage.PROGRESSING, 0), with_weight(10, now=NOW - 10_000))
    assert jumped.requeue_after == 60.0


@pytest.mark.parametrize(
    "changes",
    [
        {"failure": BAD_MODEL},
        {"obstacle": replace(MISSING_TAG, is_final=True)},
        {"verdict": Verdict.BAD},
        {"action": Action.ABORT},
    ],
)
@pytest.mark.parametrize(
    "stage", [Stage.PREPARING, Stage.PROGRESSING, Stage.PAUSED, Stage.PROMOTING]
)
def test_a_target_that_fails_is_turned_back_at_once(stage: Stage, changes: dict[str, Any]) -> None:
    result = advance(at(stage, 0), with_weight(10, **changes))
    assert (progress_of(result).stage, result.weight) == (Stage.FAILED, 0)
    assert progress_of(result).rejection is not None


def test_a_target_that_was_turned_back_stays_so_until_something_else_is_wanted() -> None:
    failed = at(Stage.FAILED, rejection=BAD_MODEL)
    assert advance(failed, seen()).progress == failed
    retried = advance(failed, seen(action=Action.RETRY))
    assert (progress_of(retried).stage, progress_of(retried).rejection) == (Stage.PROGRESSING, None)
    assert progress_of(advance(failed, seen(schedule="s2"))).rejection is None
    assert progress_of(advance(failed, seen(target="newer"))).target == "newer"
    assert advance(failed, seen(target="old")).progress is None


def test_another_target_or_other_steps_start_from_the_beginning() -> None:
    progress = at(Stage.PROGRESSING, 2)
    for changes in ({"target": "newer"}, {"schedule": "s2"}):
        result = advance(progress, with_weight(50, **changes, obstacle=MISSING_TAG))
        assert (progress_of(result).step, result.weight) == (-1, 0)


def test_a_model_that_is_stopped_begins_again() -> None:
    stopped = advance(at(Stage.PAUSED, 1), seen(is_stopped=True))
    assert (progress_of(stopped).stage, progress_of(stopped).step) == (Stage.PREPARING, -1)
    assert (
        advance(stopped.progress, seen(is_stopped=True, now=NOW + 9)).progress == stopped.progress
    )


def test_people_pause_resume_and_promote() -> None:
    paused = advance(at(Stage.PROGRESSING, 0), with_weight(10, action=Action.PAUSE))
    later = advance(paused.progress, with_weight(10, now=NOW + 1000))
    assert (progress_of(later).stage, later.weight) == (Stage.PAUSED, 10)
    resumed = advance(later.progress, with_weight(10, now=NOW + 30, action=Action.RESUME))
    assert (progress_of(resumed).stage, resumed.requeue_after) == (Stage.PROGRESSING, 30.0)
    promoted = advance(paused.progress, with_weight(10, action=Action.PROMOTE))
    assert promoted.takes_over


def test_promotion_waits_for_gates_pods_and_route() -> None:
    for changes, cause in (
        ({"obstacle": MISSING_TAG}, Cause.GATES),
        ({"target_state": RevisionState(desired=4, ready=1)}, Cause.PODS),
        ({"weights": None}, Cause.ROUTE),
    ):
        result = advance(None, seen(action=Action.PROMOTE, **changes))
        assert (progress_of(result).stage, progress_of(result).waiting_for) == (
            Stage.PROMOTING,
            cause,
        )
        assert not result.takes_over


def test_gates_without_steps_hold_a_target_that_would_take_over_at_once() -> None:
    held = advance(None, seen(steps=(), has_gates=True, obstacle=MISSING_TAG))
    assert progress_of(held).waiting_for == Cause.GATES
    assert advance(held.progress, seen(steps=(), has_gates=True)).takes_over


def test_an_inconclusive_analysis_is_waited_for() -> None:
    progress = at(Stage.PROGRESSING, 0, step_started_at=NOW - 60)
    result = advance(progress, with_weight(10, verdict=Verdict.INCONCLUSIVE))
    assert progress_of(result).waiting_for == Cause.ANALYSIS
    assert progress_of(advance(progress, with_weight(10, verdict=Verdict.GOOD))).step == 1


EARLIER = Earlier("older", READY)
STABLE: dict[str, Any] = {"target": "new", "stable": "new", "weights": {"new": 100}}


def test_an_undo_makes_an_earlier_revision_ready_before_it_serves() -> None:
    down = Earlier("older", RevisionState(desired=4, ready=3))
    begun = advance(None, seen(**STABLE, action=Action.UNDO, earlier=down))
    assert (progress_of(begun).stage, progress_of(begun).waiting_for) == (
        Stage.UNDOING,
        Cause.PODS,
    )
    assert not begun.takes_over
    listed = {**STABLE, "weights": {"new": 100, "older": 0}}
    unlisted = advance(begun.progress, seen(**STABLE, earlier=EARLIER))
    assert (progress_of(unlisted).waiting_for, unlisted.takes_over) == (Cause.ROUTE, False)
    done = advance(unlisted.progress, seen(**listed, earlier=EARLIER, now=NOW + 60))
    assert (done.takes_over, progress_of(done).stage) == (True, Stage.FAILED)
    assert progress_of(done).earlier == "older"
    rejection = progress_of(done).rejection
    assert rejection and (rejection.reason, rejection.at) == (Reason.ROLLOUT_UNDONE, NOW + 60)


@pytest.mark.parametrize("steps", [STEPS, ()])
def test_what_was_undone_is_not_tried_again_by_itself(steps: Schedule) -> None:
    undone = Rejection(Reason.ROLLOUT_UNDONE, "a person went back", NOW)
    failed = at(Stage.FAILED, rejection=undone)
    assert advance(failed, seen(steps=steps)).progress == failed
    retried = advance(failed, seen(steps=steps, action=Action.RETRY))
    assert progress_of(retried).is_running
    moved = advance(failed, seen(steps=steps, schedule="s2"))
    assert moved.progress is None or moved.progress.is_running


def test_an_undo_of_what_is_left_after_a_failure_goes_one_further() -> None:
    failed = at(Stage.FAILED, rejection=BAD_MODEL)
    begun = advance(failed, seen(action=Action.UNDO, earlier=EARLIER, weights={"old": 100}))
    assert (progress_of(begun).stage, progress_of(begun).rejection) == (Stage.UNDOING, BAD_MODEL)
    aborted = advance(begun.progress, seen(action=Action.ABORT, earlier=EARLIER))
    assert aborted.progress == replace(failed, waiting_for=None)
    done = advance(begun.progress, seen(weights={"old": 100, "older": 0}, earlier=EARLIER))
    assert (done.takes_over, progress_of(done).rejection) == (True, BAD_MODEL)


@pytest.mark.parametrize(
    "changes",
    [
        {"action": Action.ABORT, "earlier": EARLIER},
        {"earlier": None},
        {"schedule": "s2", "earlier": EARLIER},
    ],
)
def test_an_undo_that_is_given_up_leaves_what_serves(changes: dict[str, Any]) -> None:
    begun = advance(None, seen(**STABLE, action=Action.UNDO, earlier=EARLIER))
    assert advance(begun.progress, seen(**STABLE, **changes)) == Advance(None)


def test_without_an_earlier_revision_an_undo_does_nothing() -> None:
    assert advance(None, seen(**STABLE, action=Action.UNDO)) == Advance(None)


@pytest.mark.parametrize("steps", [STEPS, ()])
@pytest.mark.parametrize("action", [Action.ABORT, Action.UNDO])
def test_what_is_under_way_is_turned_back_with_and_without_steps(
    steps: Schedule, action: Action
) -> None:
    result = advance(None, seen(steps=steps, action=action))
    assert progress_of(result).stage is Stage.FAILED
    assert advance(result.progress, seen(steps=steps)).progress == result.progress


@pytest.mark.parametrize(
    ("value", "control"),
    [
        ("undo/1", Control(Action.UNDO)),
        ("undo=3/1", Control(Action.UNDO, "3")),
        ("undo=wine-5f4k2/x/y", Control(Action.UNDO, "wine-5f4k2")),
        ("pause", Control(Action.PAUSE)),
        ("pause=3/1", None),
        ("nonsense/1", None),
        ("", None),
    ],
)
def test_a_control_is_a_word_with_a_version_where_that_makes_sense(
    value: str, control: Control | None
) -> None:
    assert parse_control(value) == control


def test_a_verdict_counts_at_its_own_step_alone() -> None:
    held = with_weight(10, now=NOW + 60)
    for verdict in Verdict:
        judged = replace(held, verdict=verdict, judged_step=1, judged_at=NOW + 60)
        result = advance(at(Stage.PROGRESSING, 0), judged)
        assert (progress_of(result).stage, result.weight) == (Stage.PROGRESSING, 10)
        assert progress_of(result).waiting_for == Cause.ANALYSIS


def test_a_hold_goes_on_while_nothing_is_known() -> None:
    held = with_weight(10, now=NOW + 30, verdict=Verdict.INCONCLUSIVE)
    result = advance(at(Stage.PROGRESSING, 0), held)
    assert (progress_of(result).waiting_for, result.requeue_after) == (Cause.HOLD, 30.0)


@pytest.mark.parametrize(
    ("what", "looked_at", "stage", "weight"),
    [
        (OnInconclusive.WAIT, NOW + 60, Stage.PROGRESSING, 10),
        (OnInconclusive.PROMOTE, NOW + 60, Stage.PAUSED, 10),  # the next step, a pause
        (OnInconclusive.PROMOTE, NOW + 59, Stage.PROGRESSING, 10),
        (OnInconclusive.PROMOTE, None, Stage.PROGRESSING, 10),
        (OnInconclusive.ROLL_BACK, NOW + 60, Stage.FAILED, 0),
        (OnInconclusive.ROLL_BACK, NOW + 59, Stage.PROGRESSING, 10),
        (OnInconclusive.ROLL_BACK, None, Stage.PROGRESSING, 10),
    ],
)
def test_the_spec_says_what_follows_where_nothing_is_known_at_the_end(
    what: OnInconclusive, looked_at: float | None, stage: Stage, weight: int
) -> None:
    observed = with_weight(
        10,
        now=NOW + 61,
        verdict=Verdict.INCONCLUSIVE,
        judged_step=0,
        judged_at=looked_at,
        on_inconclusive=what,
    )
    result = advance(at(Stage.PROGRESSING, 0), observed)
    assert (progress_of(result).stage, result.weight) == (stage, weight)


def test_a_person_goes_on_where_nothing_is_known() -> None:
    unknown = with_weight(10, now=NOW + 61, verdict=Verdict.INCONCLUSIVE)
    waiting = advance(at(Stage.PROGRESSING, 0), unknown)
    assert progress_of(waiting).waiting_for == Cause.ANALYSIS
    resumed = advance(waiting.progress, replace(unknown, action=Action.RESUME))
    assert progress_of(resumed).step == 1
    # A pause has no end but a person's.
    resumed = advance(resumed.progress, replace(unknown, action=Action.RESUME))
    assert resumed.weight == 50


NAMES = st.sampled_from(["a", "b", "c"])
SCHEDULES: dict[str, Schedule] = {
    "s1": STEPS,
    "s2": (Step(0, math.inf), Step(100, 30.0)),
    "s3": (Step(50), Step(20, 5.0)),
    "s4": (Step(0, 30.0, shadow=20), Step(0, math.inf, shadow=20), Step(10, 30.0)),
}


class AnyCourseOfEvents(RuleBasedStateMachine):
    """A rollout from its recorded progress and what is observed, between random events."""

    def __init__(self) -> None:
        super().__init__()
        self.stable, self.target, self.schedule = "a", "a", "s1"
        self.progress: Progress | None = None
        self.ready = {"a": 4, "b": 0, "c": 0}
        self.requested = {"a": 100}  # by the last reconcile
        self.weights: dict[str, int] | None = {"a": 100}  # that the gateway has
        self.stages = {Stage.STABLE}
        self.now = NOW
        self.obstacle: Obstacle | None = None
        self.verdict: Verdict | None = None
        self.judged_step = 0
        self.on_inconclusive = OnInconclusive.WAIT
        self.failure: Rejection | None = None
        self.is_stopped = False
        self.is_shadowing = False
        self.last: Advance = Advance(None)

    @rule(name=NAMES)
    def the_alias_moves(self, name: str) -> None:
        self.target, self.failure = name, None

    @rule(schedule=st.sampled_from(sorted(SCHEDULES)))
    def the_steps_are_edited(self, schedule: str) -> None:
        self.schedule = schedule

    @rule(name=NAMES, ready=st.integers(0, 4))
    def pods_change(self, name: str, ready: int) -> None:
        self.ready[name] = ready

    @rule()
    def all_pods_get_ready(self) -> None:
        self.ready = dict.fromkeys(self.ready, 4)

    @rule(obstacle=st.sampled_from([None, MISSING_TAG, replace(MISSING_TAG, is_final=True)]))
    def a_gate_opens_or_closes(self, obstacle: Obstacle | None) -> None:
        self.obstacle = obstacle

    @rule(
        verdict=st.sampled_from([None, *Verdict]),
        step=st.integers(-1, 2),
        what=st.sampled_from(list(OnInconclusive)),
    )
    def the_analysis_says(self, verdict: Verdict | None, step: int, what: OnInconclusive) -> None:
        self.verdict, self.judged_step, self.on_inconclusive = verdict, step, what

    @rule(is_shadowing=st.booleans())
    def the_pods_send_copies_or_not(self, is_shadowing: bool) -> None:
        self.is_shadowing = is_shadowing

    @rule()
    def the_pods_fail_for_good(self) -> None:
        self.failure = BAD_MODEL

    @rule(stopped=st.booleans())
    def it_is_stopped_or_started(self, stopped: bool) -> None:
        self.is_stopped = stopped

    @rule(verdict=st.booleans())
    def the_gateway_looks(self, verdict: bool) -> None:
        self.weights = dict(self.requested) if verdict else None

    @rule(seconds=st.sampled_from([-5000.0, -1.0, 1.0, 31.0, 61.0, 5000.0]))
    def the_clock_moves(self, seconds: float) -> None:
        self.now += seconds

    @rule(
        action=st.sampled_from([None, None, *Action]),
        is_recorded=st.sampled_from([True] * 3 + [False]),
    )
    def it_reconciles(self, action: Action | None, is_recorded: bool) -> None:
        """Where nothing is recorded, the operator ended before it could write the status."""
        observation = self.observe(action)
        result = advance(self.progress, observation)
        self.check(result, observation)
        again = advance(self.progress, observation)
        assert again == result
        self.apply(result, is_recorded)

    def observe(self, action: Action | None = None) -> Observation:
        state = RevisionState(4, self.ready[self.target])
        return Observation(
            now=self.now,
            target=self.target,
            stable=self.stable,
            steps=SCHEDULES[self.schedule],
            schedule=self.schedule,
            has_gates=False,
            target_state=state,
            stable_answers=self.ready[self.stable] > 0,
            stable_replicas=4,
            weights=self.weights if self.weights == self.requested else None,
            requested=self.requested,
            is_stopped=self.is_stopped,
            failure=self.failure if not state.answers else None,
            obstacle=self.obstacle,
            verdict=self.verdict,
            judged_step=self.judged_step,
            judged_at=self.now,
            on_inconclusive=self.on_inconclusive,
            action=action,
            earlier=self.earlier(action),
            is_shadowing=self.is_shadowing,
        )

    def earlier(self, action: Action | None) -> Earlier | None:
        name = self.progress.earlier if self.progress else None
        if name is None and action is Action.UNDO:
            name = next((n for n in self.ready if n not in (self.stable, self.target)), None)
        return Earlier(name, RevisionState(4, self.ready[name])) if name else None

    def apply(self, result: Advance, is_recorded: bool) -> None:
        back = result.progress.earlier if result.progress else None
        successor = back or self.target
        if result.takes_over:
            self.requested = {successor: 100}
        elif back is not None:
            self.requested = {self.stable: 100, back: 0}
        elif result.progress is None or not result.progress.is_running:
            self.requested = {self.stable: 100}
        else:
            weight = result.weight if self.ready[self.target] and not self.is_stopped else 0
            self.requested = {self.stable: 100 - weight, self.target: weight}
        if is_recorded:
            self.progress = self.recorded(result)
            self.stable = successor if result.takes_over else self.stable
        self.last = result

    def recorded(self, result: Advance) -> Progress | None:
        """Where an undo leads to is the stable revision once it has taken over."""
        if result.progress is None or result.progress.is_running:
            return None if result.takes_over else result.progress
        is_undone = result.progress.stage is Stage.FAILED
        return replace(result.progress, earlier=None) if is_undone else result.progress

    def check_undo(self, result: Advance, observation: Observation) -> None:
        assert result.progress is not None and observation.earlier is not None
        assert result.takes_over or result.progress.waiting_for is not None, "waits for nothing"
        if result.takes_over:
            name = observation.earlier.name
            assert observation.earlier.state.ready >= required_replicas(4, 100)
            assert name in (observation.weights or ()) or observation.requested.get(name) == 100

    def check(self, result: Advance, observation: Observation) -> None:
        before, after = self.progress, result.progress
        assert 0 <= result.weight <= 100
        if after is not None and shadow_of(after, observation.steps) > 0:
            assert result.weight == 0, "a shadow with requests of its own"
            has_begun = after.step_started_at is not None and after.step > (
                before.step if before else -1
            )
            assert not has_begun or observation.is_shadowing
        self.check_transitions(before, after, result, observation)
        if after is not None and after.earlier is not None:
            self.check_undo(result, observation)
        if after is None or not after.is_running:
            assert result.weight == 0
            assert after is None or after.rejection is not None
            return
        assert result.takes_over or after.waiting_for is not None, "waits for nothing"
        had = dict(self.requested).get(self.target, 0)
        gains = 100 if result.takes_over else result.weight
        if gains > had and had == 0 and observation.target_state.answers:
            known = observation.is_listed or observation.requested.get(self.target, 0) == gains
            is_paused = after.stage is Stage.PAUSED or (before and before.step >= 0)
            assert known or is_paused
            assert observation.target_state.is_ready or is_paused
        if result.takes_over:
            assert observation.target_state.ready >= required_replicas(4, 100)

    def check_transitions(
        self,
        before: Progress | None,
        after: Progress | None,
        result: Advance,
        observation: Observation,
    ) -> None:
        """Each change of the stage is a path of the table."""
        start = before.stage if before else Stage.STABLE
        is_stable = after is None or (result.takes_over and after.is_running)
        end = Stage.STABLE if after is None or is_stable else after.stage
        assert end in reachable(start)

    @invariant()
    def the_next_weight_is_one_of_the_steps(self) -> None:
        if self.progress is not None and self.progress.schedule == self.schedule:
            steps = SCHEDULES[self.schedule]
            weights = {step.weight for step in steps} | {100}
            assert next_weight(self.progress, steps) in weights

    def teardown(self) -> None:
        """With good pods, an accepting gateway, open gates and a person, every run ends."""
        self.obstacle = self.verdict = self.failure = None
        self.is_stopped = False
        self.is_shadowing = True
        self.ready = dict.fromkeys(self.ready, 4)
        if self.progress is not None and not self.progress.is_running:
            self.schedule = "s1" if self.progress.schedule != "s1" else "s2"
        for _ in range(30):
            self.weights = dict(self.requested)
            self.now += 100.0
            is_paused = self.progress is not None and self.progress.stage is Stage.PAUSED
            self.it_reconciles(Action.RESUME if is_paused else None, True)
            if self.stable == self.target:
                return
        raise AssertionError("the rollout never ends")


def reachable(start: Stage) -> set[Stage]:
    """The stages that some transitions lead to, and the stage itself."""
    stages = {start}
    while True:
        following = {end for begin, _, end in TRANSITIONS if begin in stages} | stages
        if following == stages:
            return stages
        stages = following


def test_each_trigger_moves_something() -> None:
    assert {trigger for _, trigger, _ in TRANSITIONS} == set(Trigger)


TestAnyCourseOfEvents = AnyCourseOfEvents.TestCase
TestAnyCourseOfEvents.settings = hypothesis_settings(max_examples=400, deadline=None)
