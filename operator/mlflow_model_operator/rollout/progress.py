"""The state machine of a rollout in steps.

`advance` is pure: from the progress that the status records, and what is observed now, follows the
progress to record. So the operator may restart between any two calls. `TRANSITIONS` is all that it
can do; docs/rollouts.md shows it, and a test compares the two.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import NamedTuple

from mlflow_model_operator.api.reasons import Reason
from mlflow_model_operator.rollout.exchange import Exchange
from mlflow_model_operator.rollout.state import RevisionState
from mlflow_model_operator.rollout.steps import Schedule, Step, required_replicas

MIN_WAIT = 0.1  # seconds until time alone changes something


class Stage(StrEnum):
    """Where a rollout is. The values are phases of `status.rollout.phase`."""

    STABLE = "Stable"  # there is no rollout: the target is the stable revision
    PREPARING = "Preparing"  # the target gets no request yet
    PROGRESSING = "Progressing"  # the target has the weight of a step
    PAUSED = "Paused"  # until a person resumes it
    PROMOTING = "Promoting"  # all steps are done: the target gets its last pods and takes over
    FAILED = "Failed"  # the target was rolled back, and is not tried again by itself
    UNDOING = "Undoing"  # a user goes back to an earlier revision, which gets its pods


class Trigger(StrEnum):
    """What moves a rollout from one stage to another."""

    NEW_TARGET = "another target, or other steps"
    CANCELLED = "the target is the stable revision again"
    READY = "gates passed, pods ready, in the route"
    STEP_DONE = "the step is done"
    LAST_STEP_DONE = "the last step is done"
    PAUSE = "pause"
    RESUME = "resume"
    PROMOTE = "promote"
    TAKEN_OVER = "the target has taken over"
    STOPPED = "scaled to zero"
    FAILURE = "pods, a gate or the analysis failed"
    ABORT = "abort"
    RETRY = "retry"
    UNDO = "undo"
    UNDONE = "the earlier revision has taken over"
    UNREACHABLE = "the earlier revision can't be made again"


_RUNNING = (Stage.PREPARING, Stage.PROGRESSING, Stage.PAUSED, Stage.PROMOTING)
TRANSITIONS: frozenset[tuple[Stage, Trigger, Stage]] = frozenset(
    {
        (Stage.STABLE, Trigger.NEW_TARGET, Stage.PREPARING),
        (Stage.PREPARING, Trigger.READY, Stage.PROGRESSING),
        (Stage.PREPARING, Trigger.READY, Stage.PROMOTING),  # without steps
        (Stage.PREPARING, Trigger.PAUSE, Stage.PAUSED),
        (Stage.PREPARING, Trigger.PROMOTE, Stage.PROMOTING),
        (Stage.PROGRESSING, Trigger.STEP_DONE, Stage.PROGRESSING),
        (Stage.PROGRESSING, Trigger.LAST_STEP_DONE, Stage.PROMOTING),
        (Stage.PROGRESSING, Trigger.PAUSE, Stage.PAUSED),
        (Stage.PROGRESSING, Trigger.RESUME, Stage.PROGRESSING),  # though nothing is known
        (Stage.PROGRESSING, Trigger.PROMOTE, Stage.PROMOTING),
        (Stage.PAUSED, Trigger.RESUME, Stage.PREPARING),
        (Stage.PAUSED, Trigger.RESUME, Stage.PROGRESSING),
        (Stage.PAUSED, Trigger.PROMOTE, Stage.PROMOTING),
        (Stage.PROMOTING, Trigger.TAKEN_OVER, Stage.STABLE),
        (Stage.FAILED, Trigger.RETRY, Stage.PREPARING),
        (Stage.FAILED, Trigger.NEW_TARGET, Stage.PREPARING),
        (Stage.FAILED, Trigger.CANCELLED, Stage.STABLE),
        (Stage.STABLE, Trigger.UNDO, Stage.UNDOING),
        (Stage.FAILED, Trigger.UNDO, Stage.UNDOING),
        (Stage.UNDOING, Trigger.UNDONE, Stage.FAILED),
        (Stage.UNDOING, Trigger.ABORT, Stage.STABLE),
        (Stage.UNDOING, Trigger.ABORT, Stage.FAILED),  # as it was before the undo
        (Stage.UNDOING, Trigger.UNREACHABLE, Stage.STABLE),
        (Stage.UNDOING, Trigger.UNREACHABLE, Stage.FAILED),
        (Stage.UNDOING, Trigger.NEW_TARGET, Stage.PREPARING),
        (Stage.UNDOING, Trigger.CANCELLED, Stage.STABLE),
        *((stage, Trigger.NEW_TARGET, Stage.PREPARING) for stage in _RUNNING),
        *((stage, Trigger.STOPPED, Stage.PREPARING) for stage in _RUNNING),
        *((stage, Trigger.CANCELLED, Stage.STABLE) for stage in _RUNNING),
        *((stage, Trigger.FAILURE, Stage.FAILED) for stage in _RUNNING),
        *((stage, Trigger.ABORT, Stage.FAILED) for stage in _RUNNING),
    }
)


class Cause(StrEnum):
    """What a rollout waits for, as `status.rollout.waitingFor` shows it."""

    GATES = "Gates"  # the version lacks what spec.rollout.gates asks for
    PODS = "Pods"  # the target has fewer ready pods than the next weight needs
    ROUTE = "Route"  # the gateway has not accepted the route with the last weights
    STABLE = (
        "Stable"  # the stable revision has no ready pod: nothing to compare with, or go back to
    )
    HOLD = "Hold"  # the weight is held for a time
    RESUME = "Resume"  # a person has to resume it
    ANALYSIS = "Analysis"  # what was measured says neither good nor bad
    SHADOW = "Shadow"  # no pod of the stable revision reports yet that it sends copies


class Verdict(StrEnum):
    """What an analysis of the target says; inconclusive is neither good nor bad."""

    GOOD = "Good"
    BAD = "Bad"
    INCONCLUSIVE = "Inconclusive"


class OnInconclusive(StrEnum):
    """What follows where the end of a step comes before a verdict, as the spec writes it."""

    WAIT = "Wait"
    PROMOTE = "Promote"
    ROLL_BACK = "RollBack"


class Action(StrEnum):
    """What people may ask of a rollout."""

    PAUSE = "pause"
    RESUME = "resume"
    PROMOTE = "promote"
    ABORT = "abort"
    RETRY = "retry"
    UNDO = "undo"


class Control(NamedTuple):
    """What a person asks for, as the annotation states it."""

    action: Action
    version: str = ""  # where an undo is to lead, if not to the version before


def parse_control(value: str) -> Control | None:
    """The control that a value of the annotation states; None where it states none.

    >>> parse_control("undo=3/1700000000")
    Control(action=<Action.UNDO: 'undo'>, version='3')
    """
    word, _, version = value.partition("/")[0].partition("=")
    if word not in set(Action) or (version and word != Action.UNDO):
        return None
    return Control(Action(word), version)


@dataclass(frozen=True)
class Obstacle:
    """Why a gate does not let the target through: not yet, or, where it `is_final`, never."""

    reason: Reason
    message: str
    is_final: bool = False


@dataclass(frozen=True)
class Rejection:
    """Why a target was rolled back."""

    reason: Reason
    message: str
    at: float  # epoch seconds


@dataclass(frozen=True)
class Progress:
    """How far a rollout in steps has come, as the status records it. Times are epoch seconds."""

    target: str  # the name of the revision
    schedule: str  # a hash of spec.rollout: with another one the rollout starts again
    since: float
    stable_replicas: int  # the stable revision's pods at the beginning, which it keeps
    stage: Stage = Stage.PREPARING
    step: int = -1  # the index of the step whose weight the target has; -1: before the first
    step_started_at: float | None = None  # since when the gateway has that weight
    paused_at: float | None = None
    resumed_at: float | None = None  # when a person resumed it at this step
    rejection: Rejection | None = None
    waiting_for: Cause | None = None
    earlier: str | None = None  # the revision that an undo goes back to, while it does
    # Since when the target lacks a ready pod while pods are exchanged: also after its Deployment
    # had none to start, since when Kubernetes no longer watches its progress.
    unready_since: float | None = None

    @property
    def is_running(self) -> bool:
        """Whether the target may still take over."""
        return self.stage in _RUNNING


@dataclass(frozen=True)
class Earlier:
    """An earlier revision, which an undo goes back to."""

    name: str
    state: RevisionState


@dataclass(frozen=True)
class Observation:
    """What a rollout depends on, beside its progress."""

    now: float  # epoch seconds
    target: str
    stable: str
    steps: Schedule
    schedule: str
    # Whether it may have to wait, or be rolled back, also without steps. If not, it takes over as
    # soon as it is ready.
    has_gates: bool
    target_state: RevisionState
    stable_answers: bool
    stable_replicas: int
    # The weights that the data plane has, of all revisions that it knows; None: not those that it
    # was given last.
    weights: Mapping[str, int] | None
    # The weights that it was given last, whether or not it has them.
    requested: Mapping[str, int]
    is_stopped: bool = False
    failure: Rejection | None = None  # the target's pods have failed for good
    obstacle: Obstacle | None = None  # the first gate that the target does not pass
    verdict: Verdict | None = None  # None: nothing is measured
    verdict_message: str = ""
    judged_step: int | None = None  # the index of the step that the verdict is about; None: of any
    judged_at: float | None = None  # when that was last looked at; None: never
    on_inconclusive: OnInconclusive = OnInconclusive.WAIT
    action: Action | None = None  # what a person asks for now
    earlier: Earlier | None = None  # where an undo leads: the one under way, or the one asked for
    exchange: Exchange | None = None  # None: there is room for both revisions
    ready_timeout: float = math.inf  # seconds within which pods that are exchanged get ready
    is_shadowing: bool = False  # pods of the stable revision report that they send copies to it

    @property
    def is_listed(self) -> bool:
        """Whether the data plane knows the target, be it with weight 0."""
        return self.weights is not None and self.target in self.weights


@dataclass(frozen=True)
class Advance:
    """The progress to record, and what follows from it."""

    progress: Progress | None  # None: there is no rollout
    weight: int = 0  # the target's share of the requests, in percent
    may_serve: bool = False  # where the stable revision does not answer: gates passed, not failed
    takes_over: bool = False  # the target becomes the stable revision
    requeue_after: float | None = None  # seconds until time alone changes something


def advance(progress: Progress | None, observed: Observation) -> Advance:
    """The next progress of a rollout; one call goes as far as what is observed allows."""
    progress = _for_target(progress, observed)
    if progress is None:
        return Advance(None)
    progress = replace(progress, stable_replicas=observed.stable_replicas)
    if progress.stage is Stage.UNDOING:
        return _undo(progress, observed)
    progress = _obey(_within_steps(progress, observed), observed)
    progress = _fail(progress, observed)
    if not progress.is_running:
        return Advance(progress)
    progress = _with_unready_time(progress, observed)
    while True:
        following = _next(progress, observed)
        if following == progress:
            break
        progress = following
        if not progress.is_running:
            return Advance(progress)
    return Advance(
        progress,
        weight=weight_of(progress, observed.steps),
        may_serve=observed.obstacle is None,
        takes_over=progress.stage is Stage.PROMOTING and progress.waiting_for is None,
        requeue_after=_requeue_after(progress, observed),
    )


def weight_of(progress: Progress, steps: Schedule) -> int:
    """The target's share of the requests, in percent."""
    if not progress.is_running or not 0 <= progress.step < len(steps):
        return 0
    return steps[progress.step].weight


def shadow_of(progress: Progress, steps: Schedule) -> int:
    """The share of the requests that the target gets copies of, in percent."""
    is_at_step = progress.stage in (Stage.PROGRESSING, Stage.PAUSED)
    if not is_at_step or not 0 <= progress.step < len(steps):
        return 0
    return steps[progress.step].shadow


def next_weight(progress: Progress, steps: Schedule) -> int:
    """Its share at the next step; 100 where it takes over next."""
    following = progress.step + 1
    is_last = progress.stage in (Stage.PROMOTING, Stage.UNDOING)
    if is_last or following >= len(steps):
        return 100
    return steps[following].weight


def load_with_copies(progress: Progress, steps: Schedule) -> int:
    """The share of the requests that the target must have pods for beside a shadow, in percent.

    Pods go on sending copies for a moment after the step, when it gets its first share. 0 where no
    step with a shadow is near.
    """
    present = max(progress.step, 0)
    following = 100 if present + 1 >= len(steps) else steps[present + 1].weight
    copies = max((step.shadow for step in steps[max(present - 1, 0) : present + 2]), default=0)
    return min(copies + max(weight_of(progress, steps), following), 100) if copies else 0


def _for_target(progress: Progress | None, observed: Observation) -> Progress | None:
    """The progress of the rollout of the present target: a new one if that is another."""
    if progress is not None and not _is_of(progress, observed):
        progress = None
    if progress is not None and progress.stage is Stage.UNDOING:
        return progress
    if _begins_undo(progress, observed):
        return _undoing(progress or _begun(observed), observed)
    if observed.target == observed.stable:
        return None
    if progress is None or progress.is_running:
        return _running(progress, observed)
    return progress


def _is_of(progress: Progress, observed: Observation) -> bool:
    return (progress.target, progress.schedule) == (observed.target, observed.schedule)


def _begun(observed: Observation) -> Progress:
    return Progress(observed.target, observed.schedule, observed.now, observed.stable_replicas)


def _running(progress: Progress | None, observed: Observation) -> Progress | None:
    """The progress of a target that may take over; None where it does so as soon as it is ready.

    A user can abort one that has no steps too.
    """
    is_aborted = observed.action in (Action.ABORT, Action.UNDO)
    if not (observed.steps or observed.has_gates or observed.exchange or is_aborted):
        return None
    if progress is None:
        return _begun(observed)
    if observed.is_stopped and progress.stage is not Stage.PREPARING:
        return _from_the_start(_move(progress, Trigger.STOPPED, Stage.PREPARING), observed)
    return progress


def _from_the_start(progress: Progress, observed: Observation) -> Progress:
    """The same target again, from the first step."""
    return Progress(progress.target, progress.schedule, observed.now, observed.stable_replicas)


def _within_steps(progress: Progress, observed: Observation) -> Progress:
    """The same where an exchange has fewer steps by now, as the model has fewer pods."""
    last = len(observed.steps) - 1
    if progress.step <= last:
        return progress
    if last < 0 and progress.stage is Stage.PROGRESSING:
        progress = _move(progress, Trigger.LAST_STEP_DONE, Stage.PROMOTING)
    return replace(progress, step=last, step_started_at=None)


def _obey(progress: Progress, observed: Observation) -> Progress:
    """What a person asks for, where the stage allows it."""
    match observed.action, progress.stage:
        case Action.PAUSE, (Stage.PREPARING | Stage.PROGRESSING):
            return _paused(progress, observed)
        case Action.RESUME, Stage.PAUSED:
            return _resumed(progress, observed)
        case Action.PROMOTE, _ if observed.exchange is not None:
            # There is no room to skip steps: one that is paused goes on.
            is_paused = progress.stage is Stage.PAUSED
            return _resumed(progress, observed) if is_paused else progress
        case Action.RESUME, Stage.PROGRESSING if progress.waiting_for is Cause.ANALYSIS:
            resumed = _move(progress, Trigger.RESUME, Stage.PROGRESSING)
            return replace(resumed, resumed_at=observed.now)
        case Action.PROMOTE, (Stage.PREPARING | Stage.PROGRESSING | Stage.PAUSED):
            promoted = _move(progress, Trigger.PROMOTE, Stage.PROMOTING)
            return replace(promoted, paused_at=None)
        case (
            (Action.ABORT | Action.UNDO),
            (Stage.PREPARING | Stage.PROGRESSING | Stage.PAUSED | Stage.PROMOTING),
        ):
            aborted = Rejection(Reason.ROLLOUT_ABORTED, "it was aborted by a user", observed.now)
            return _rejected(progress, Trigger.ABORT, aborted)
        case Action.RETRY, Stage.FAILED:
            retried = _move(progress, Trigger.RETRY, Stage.PREPARING)
            return replace(_from_the_start(retried, observed), resumed_at=observed.now)
    return progress


def _resumed(progress: Progress, observed: Observation) -> Progress:
    stage = Stage.PREPARING if progress.step < 0 else Stage.PROGRESSING
    resumed = _move(progress, Trigger.RESUME, stage)
    return replace(resumed, paused_at=None, resumed_at=observed.now)


def _begins_undo(progress: Progress | None, observed: Observation) -> bool:
    """Whether a person goes back now: from what serves, while nothing else is under way."""
    if observed.action is not Action.UNDO or observed.earlier is None:
        return False
    return observed.target == observed.stable if progress is None else not progress.is_running


def _undoing(progress: Progress, observed: Observation) -> Progress:
    """The beginning of an undo; the target is not tried again by itself from now on."""
    assert observed.earlier is not None
    stage = progress.stage if progress.rejection else Stage.STABLE
    reason = f"a user went back to revision {observed.earlier.name}"
    rejection = progress.rejection or Rejection(Reason.ROLLOUT_UNDONE, reason, observed.now)
    moved = _move(replace(progress, stage=stage), Trigger.UNDO, Stage.UNDOING)
    return replace(moved, rejection=rejection, earlier=observed.earlier.name)


def _undo(progress: Progress, observed: Observation) -> Advance:
    """Goes back as soon as the earlier revision has its pods and the data plane knows it."""
    if observed.earlier is None:
        return Advance(_without_undo(progress, Trigger.UNREACHABLE, observed))
    if observed.action is Action.ABORT:
        return Advance(_without_undo(progress, Trigger.ABORT, observed))
    back, state = observed.earlier.name, observed.earlier.state
    cause = _obstacle_to_takeover(
        progress, replace(observed, target=back, target_state=state, obstacle=None)
    )
    if cause is not None:
        return Advance(replace(progress, waiting_for=cause), may_serve=True)
    return Advance(_undone(progress, observed), takes_over=True)


def _undone(progress: Progress, observed: Observation) -> Progress:
    """The target is rolled back; from now on, if it is the one that has served."""
    assert progress.rejection is not None
    failed = _move(progress, Trigger.UNDONE, Stage.FAILED)
    if observed.target != observed.stable:
        return failed
    return replace(failed, rejection=replace(progress.rejection, at=observed.now))


def _without_undo(progress: Progress, trigger: Trigger, observed: Observation) -> Progress | None:
    """As it was before the undo."""
    is_stable = observed.target == observed.stable
    moved = _move(progress, trigger, Stage.STABLE if is_stable else Stage.FAILED)
    return None if is_stable else replace(moved, earlier=None)


def _fail(progress: Progress, observed: Observation) -> Progress:
    """The same, rolled back if the target is not to serve."""
    if not progress.is_running:
        return progress
    rejection = observed.failure
    if rejection is None and observed.obstacle and observed.obstacle.is_final:
        rejection = Rejection(observed.obstacle.reason, observed.obstacle.message, observed.now)
    if rejection is None and _verdict(progress, observed) is Verdict.BAD:
        why = observed.verdict_message or "a metric of the analysis is bad"
        rejection = Rejection(Reason.ANALYSIS_FAILED, why, observed.now)
    return _rejected(progress, Trigger.FAILURE, rejection) if rejection else progress


def _with_unready_time(progress: Progress, observed: Observation) -> Progress:
    """The same with the time since when the target lacks its pods, while pods are exchanged."""
    state = observed.target_state
    is_kept_back = observed.obstacle is not None and progress.step < 0
    has_pods = state.exists and not observed.is_stopped and not is_kept_back
    if observed.exchange is None or state.answers or not has_pods:
        return replace(progress, unready_since=None)
    since = observed.now if progress.unready_since is None else progress.unready_since
    return replace(progress, unready_since=min(since, observed.now))


def is_overdue(progress: Progress, timeout: float, now: float) -> bool:
    """Whether the target lacks its pods for longer than they may take, while pods are exchanged."""
    return progress.unready_since is not None and now - progress.unready_since >= timeout


def _next(progress: Progress, observed: Observation) -> Progress:
    """One transition, or what it waits for."""
    match progress.stage:
        case Stage.PREPARING:
            return _prepare(progress, observed)
        case Stage.PROGRESSING:
            return _hold(_timed(progress, observed), observed)
        case Stage.PROMOTING:
            return replace(progress, waiting_for=_obstacle_to_takeover(progress, observed))
        case _:
            return replace(progress, waiting_for=Cause.RESUME)


def _prepare(progress: Progress, observed: Observation) -> Progress:
    cause = _obstacle_to_first_share(progress, observed)
    if cause is not None:
        return replace(progress, waiting_for=cause)
    if not observed.steps:
        return _move(progress, Trigger.READY, Stage.PROMOTING)
    return _at_step(_move(progress, Trigger.READY, Stage.PROGRESSING), 0)


def _timed(progress: Progress, observed: Observation) -> Progress:
    """The same with the time since when the data plane has the weights of the step.

    Or since when pods send copies, at a step with a shadow. It begins again where the target has
    lost its pods, and so its share. A time in the future is that of another leader's clock.
    """
    if not observed.target_state.answers:
        return replace(progress, step_started_at=None)
    if progress.step_started_at is not None:
        return replace(progress, step_started_at=min(progress.step_started_at, observed.now))
    is_unreported = _is_shadow(progress, observed) and not observed.is_shadowing
    is_in_effect = _has_shares(progress, observed) and not is_unreported
    return replace(progress, step_started_at=observed.now) if is_in_effect else progress


def _has_shares(progress: Progress, observed: Observation) -> bool:
    """Whether the data plane has the weights of the step, and knows the target."""
    weight = weight_of(progress, observed.steps)
    shares = {observed.target: weight, observed.stable: 100 - weight}
    if observed.weights is None or not observed.is_listed:
        return False
    return _shares(observed.weights) == _shares(shares)


def _is_shadow(progress: Progress, observed: Observation) -> bool:
    """Whether the target gets copies only, at this step."""
    return observed.steps[progress.step].shadow > 0


def _hold(progress: Progress, observed: Observation) -> Progress:
    """Stays at the step as long as it takes, and goes on to the next."""
    cause = _obstacle_at_step(progress, observed)
    if cause is not None:
        return replace(progress, waiting_for=cause)
    step = observed.steps[progress.step]
    if _remaining(progress, step, observed.now) > 0:
        if math.isinf(step.hold):
            return _paused(progress, observed)
        return replace(progress, waiting_for=Cause.HOLD)
    if not _is_unjudged(progress, step, observed):
        return _go_on(progress, observed)
    if observed.on_inconclusive is OnInconclusive.ROLL_BACK and _is_judged_at_end(
        progress, step, observed
    ):
        why = f"the analysis has no verdict at the end of the step: {observed.verdict_message}"
        rejection = Rejection(Reason.ANALYSIS_INCONCLUSIVE, why, observed.now)
        return _rejected(progress, Trigger.FAILURE, rejection)
    return replace(progress, waiting_for=Cause.ANALYSIS)


def _verdict(progress: Progress, observed: Observation) -> Verdict | None:
    """What the analysis says of this step; what it says of another is no news of this one."""
    if observed.verdict is None or observed.judged_step in (None, progress.step):
        return observed.verdict
    return Verdict.INCONCLUSIVE


def _is_unjudged(progress: Progress, step: Step, observed: Observation) -> bool:
    """Whether the end of a step waits for a verdict. A person may go on without."""
    if _verdict(progress, observed) is not Verdict.INCONCLUSIVE:
        return False
    if progress.resumed_at is not None and progress.resumed_at >= _end(progress, step):
        return False
    may_go_on = observed.on_inconclusive is OnInconclusive.PROMOTE
    return not (may_go_on and _is_judged_at_end(progress, step, observed))


def _is_judged_at_end(progress: Progress, step: Step, observed: Observation) -> bool:
    """Whether the verdict is of a look after the step was held for its time."""
    is_of_step = observed.judged_step in (None, progress.step)
    return is_of_step and (observed.judged_at or 0.0) >= _end(progress, step)


def _end(progress: Progress, step: Step) -> float:
    """When the hold of a step ends; the pause of one that only a person ends, at any time."""
    hold = 0.0 if math.isinf(step.hold) else step.hold
    return (progress.step_started_at or 0.0) + hold


def _go_on(progress: Progress, observed: Observation) -> Progress:
    """To the next step, if nothing is in its way."""
    following = progress.step + 1
    if following == len(observed.steps):
        return _move(progress, Trigger.LAST_STEP_DONE, Stage.PROMOTING)
    if not _has_pods(progress, following, observed):
        return replace(progress, waiting_for=Cause.PODS)
    if not _is_route_free(observed, observed.steps[following].weight):
        return replace(progress, waiting_for=Cause.ROUTE)
    return _at_step(_move(progress, Trigger.STEP_DONE, Stage.PROGRESSING), following)


def _obstacle_to_first_share(progress: Progress, observed: Observation) -> Cause | None:
    """What must be so before the target gets any request."""
    weight = next_weight(progress, observed.steps)
    if observed.obstacle is not None:
        return Cause.GATES
    if not _has_pods_for_first_share(progress, observed):
        return Cause.PODS
    has_gap = observed.exchange is not None and observed.exchange.has_gap
    if observed.is_stopped or not (observed.stable_answers or has_gap):
        return Cause.STABLE
    is_in_route = observed.is_listed or _is_requested(observed, weight)
    return None if is_in_route else Cause.ROUTE


def _obstacle_at_step(progress: Progress, observed: Observation) -> Cause | None:
    """What must be so while the target has a share, before the next step."""
    if not observed.target_state.answers:
        return Cause.PODS
    if not observed.stable_answers:
        return Cause.STABLE
    if progress.step_started_at is not None:
        return None
    is_unreported = _is_shadow(progress, observed) and _has_shares(progress, observed)
    return Cause.SHADOW if is_unreported else Cause.ROUTE


def _obstacle_to_takeover(progress: Progress, observed: Observation) -> Cause | None:
    """What must be so before the target is the stable revision."""
    has_share = weight_of(progress, observed.steps) > 0
    if not has_share and observed.obstacle is not None:
        return Cause.GATES
    if not _is_ready(progress, len(observed.steps), observed):
        return Cause.PODS
    is_in_route = has_share or observed.is_listed or _is_requested(observed, 100)
    return None if is_in_route else Cause.ROUTE


def _is_ready(progress: Progress, step: int, observed: Observation) -> bool:
    """Whether it has the pods for a step, and all that it is to have now.

    Amid an exchange it may be to have more, for the step after: once it has taken over, say.
    """
    is_ready = observed.exchange is not None or observed.target_state.is_ready
    return is_ready and _has_pods(progress, step, observed)


def _has_pods_for_first_share(progress: Progress, observed: Observation) -> bool:
    """Whether it is ready for its first share.

    If that was requested already, but not recorded, it may be to have more pods: for the step
    after.
    """
    following, weight = progress.step + 1, next_weight(progress, observed.steps)
    if weight > 0 and _is_requested(observed, weight):
        return _has_pods(progress, following, observed)
    return _is_ready(progress, following, observed)


def _has_pods(progress: Progress, step: int, observed: Observation) -> bool:
    """Whether the target has the pods for a step; after the last, for all that is served."""
    if observed.exchange is not None:
        return observed.target_state.ready >= observed.exchange.pods_at(step)
    weight = observed.steps[step].weight if step < len(observed.steps) else 100
    return observed.target_state.ready >= required_replicas(progress.stable_replicas, weight)


def _is_route_free(observed: Observation, weight: int) -> bool:
    """Whether the last weights are the data plane's.

    Or those of the next step were requested already, by an operator that ended before it recorded
    that.
    """
    return observed.weights is not None or _is_requested(observed, weight)


def _is_requested(observed: Observation, weight: int) -> bool:
    return _shares(observed.requested) == _shares(
        {observed.target: weight, observed.stable: 100 - weight}
    )


def _shares(weights: Mapping[str, int]) -> dict[str, int]:
    return {name: weight for name, weight in weights.items() if weight > 0}


def _remaining(progress: Progress, step: Step, now: float) -> float:
    """The seconds for which the step is still held."""
    if math.isinf(step.hold):
        return 0.0 if progress.resumed_at is not None else math.inf
    return (progress.step_started_at or now) + step.hold - now


def _requeue_after(progress: Progress, observed: Observation) -> float | None:
    waits = []
    if progress.waiting_for is Cause.HOLD:
        waits.append(_remaining(progress, observed.steps[progress.step], observed.now))
    if progress.unready_since is not None and not is_overdue(
        progress, observed.ready_timeout, observed.now
    ):
        waits.append(progress.unready_since + observed.ready_timeout - observed.now)
    remaining = min(waits, default=math.inf)
    return None if math.isinf(remaining) else max(remaining, MIN_WAIT)


def _at_step(progress: Progress, step: int) -> Progress:
    return replace(
        progress, step=step, step_started_at=None, paused_at=None, resumed_at=None, waiting_for=None
    )


def _paused(progress: Progress, observed: Observation) -> Progress:
    paused = _move(progress, Trigger.PAUSE, Stage.PAUSED)
    return replace(paused, paused_at=observed.now, waiting_for=Cause.RESUME)


def _rejected(progress: Progress, trigger: Trigger, rejection: Rejection) -> Progress:
    failed = _move(progress, trigger, Stage.FAILED)
    return replace(
        failed, rejection=rejection, waiting_for=None, paused_at=None, unready_since=None
    )


def _move(progress: Progress, trigger: Trigger, stage: Stage) -> Progress:
    transition = (progress.stage, trigger, stage)
    assert transition in TRANSITIONS, transition
    return replace(progress, stage=stage, waiting_for=None)
