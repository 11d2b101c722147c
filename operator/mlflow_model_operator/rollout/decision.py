"""Which revision serves, by the spec, the status and the live Deployments.

An update makes a revision ready, moves the traffic, drains the old revision and removes it; a
rollback moves the weights back to pods that still run. `decide` holds no state: what it needs of
the past is in the resource's status, so the operator may restart between any two calls.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

from mlflow_model_operator.api.phase import Phase
from mlflow_model_operator.api.reasons import Reason
from mlflow_model_operator.rollout.progress import Obstacle, Progress
from mlflow_model_operator.rollout.routing import LiveRouting
from mlflow_model_operator.rollout.shadow import Shadow, effective_shadow
from mlflow_model_operator.rollout.state import Revision, RevisionState, Weight
from mlflow_model_operator.rollout.steps import Schedule
from mlflow_model_operator.rollout.variants import Variant, beside, split


@dataclass(frozen=True)
class Trial:
    """A target that takes over in steps, and not as soon as it is ready."""

    progress: Progress
    weight: int  # its share of the requests now, in percent
    replicas: int  # the pods that it must have now: for its next share too
    stable_replicas: int  # those of the stable revision: all, or what the exchange leaves
    may_serve: bool  # all requests, where the stable revision does not answer
    steps: Schedule = ()
    obstacle: Obstacle | None = None  # the gate that it has not passed yet
    notice: str = ""  # what a gate could not look at
    is_exchange: bool = False  # no autoscaler may add pods to those numbers
    undone: Revision | None = None  # the revision that is rolled back, where this is an undo
    # Whether requests that match go to it: gates passed, and the data plane has their rule.
    may_match: bool = False
    shadow: int = 0  # the share of the requests that it gets copies of now, in percent


@dataclass(frozen=True)
class Rejected:
    """A target that was rolled back: the stable revision is the target in its place."""

    revision: Revision
    progress: Progress


@dataclass(frozen=True)
class Postponement:
    """A rollout that does not start yet: the stable revision is the target in its place."""

    revision: Revision
    reason: Reason
    trigger: str
    since: float  # epoch seconds
    until: float


@dataclass(frozen=True)
class Desired:
    """What the spec asks for, with its model URIs resolved."""

    target: Revision
    canary: Revision | None = None
    canary_weight: int = 0  # percent
    # Whether requests that match are the canary's at any weight: the data plane has their rule.
    canary_matches: bool = False
    variants: tuple[Variant, ...] = ()  # in place of a canary
    stopped: bool = False  # spec.scaling.minReplicas is 0
    # Whether a gateway splits the traffic. A Service gives requests to all pods, or to one
    # revision's.
    splits_by_weight: bool = True
    trial: Trial | None = None
    rejected: Rejected | None = None
    keep_delay: float = 0.0  # seconds for which the pods of a revision stay after its traffic
    takes_over: bool = False  # the target, with the pods that it has
    # The pods that the target needs to take over otherwise: it may run already, for less than all
    # requests.
    takeover_replicas: int = 1
    shadow: Shadow | None = None  # the one that the spec names


@dataclass(frozen=True)
class Previous:
    """The previous decision, as the status records it."""

    stable: Revision | None = None
    traffic: tuple[Weight, ...] = ()
    draining: Mapping[str, float] = field(default_factory=dict)  # revision → since, epoch seconds
    matched: frozenset[str] = frozenset()  # had requests that match, or are to get them by now
    target: Revision | None = None  # where it was not the stable one
    # A target with requests, and draining revisions that still run: what can serve where the stable
    # one fails.
    fallbacks: tuple[Revision, ...] = ()


@dataclass(frozen=True)
class Decision:
    """Which revisions serve. `traffic` sums to 100 and lists no revision with weight 0."""

    stable: Revision
    target: Revision
    canary: Revision | None
    traffic: tuple[Weight, ...]
    draining: Mapping[str, float]
    phase: Phase
    requeue_after: float | None = None  # seconds until time alone changes the decision
    trial: Trial | None = None  # how the target takes over in steps, if it does
    rejected: Rejected | None = None
    variants: tuple[Variant, ...] = ()  # those that are not the stable revision
    matched: tuple[str, ...] = ()  # revisions that get the requests that match, at any weight
    # Draining revisions whose requests have ended; their pods stay for spec.rollout.keepOld.
    drained: frozenset[str] = frozenset()
    shadow: Shadow | None = None  # it may be the target, before its first share

    @property
    def identity(self) -> Hashable:
        """Equal for decisions that ask for the same objects."""
        pods = self.trial and (self.trial.replicas, self.trial.stable_replicas)
        routed = (self.traffic, self.matched)
        others = (self.canary, self.variants, self.shadow)
        return (self.stable, self.target, others, routed, self.retained, pods)

    @property
    def listed(self) -> tuple[Weight, ...]:
        """What the route lists: beside the traffic both sides of a trial, be it with weight 0.

        A gateway knows the pods of what is listed, so that a share may begin, or go back, at once.
        """
        weights = dict(self.traffic)
        sides = (self.stable.name, self.target.name) if self.trial else ()
        absent = (Weight(name, 0) for name in sides if name not in weights)
        return (*self.traffic, *absent)

    @property
    def canary_name(self) -> str | None:
        """The name of the canary's revision, if there is one."""
        return self.canary.name if self.canary else None

    @property
    def trial_name(self) -> str | None:
        """The name of the revision that takes over in steps, if one does."""
        return self.target.name if self.trial else None

    @property
    def variant_names(self) -> Mapping[str, str]:
        """The names of the variants' revisions, by those of the variants."""
        return {variant.name: variant.revision.name for variant in self.variants}

    @property
    def revisions(self) -> frozenset[Revision]:
        """All roles, the shadow and the variants among them: all but the draining ones."""
        return frozenset(self._roles)

    @property
    def _roles(self) -> Iterable[Revision]:
        shadow = self.shadow.revision if self.shadow else None
        yield from filter(None, (self.stable, self.target, self.canary, shadow))
        yield from (variant.revision for variant in self.variants)

    @property
    def retained(self) -> frozenset[str]:
        """The names of the revisions whose objects must stay; all others go."""
        return frozenset([*(revision.name for revision in self.revisions), *self.draining])


def decide(
    desired: Desired,
    previous: Previous,
    states: Mapping[str, RevisionState],
    *,
    routing: LiveRouting,
    now: float,
    drain_delay: float,
    requeue_after: float | None = None,
) -> Decision:
    """Decides which revision is stable, how the traffic splits, and which revisions may end.

    `states`: all that exist, by name. `routing`: what the data plane does. Times are in seconds.
    """
    stable = _stable(desired, previous, states)
    canary = desired.canary if desired.canary and desired.canary.name != stable.name else None
    variants = beside(stable, desired.variants)
    traffic = _traffic(desired, stable, canary, previous, states)
    matched = _matched(desired, stable, canary, previous, states)
    current = _names(stable, desired.target, canary, variants)
    unassigned = (routing.reached | _failed(desired.rejected, states)) - current
    leaving = _leaving(previous, states, {*dict(traffic), *matched}, unassigned)
    since = _leaving_since(previous.draining, desired.rejected)
    ending = _drain(leaving, since, routing, now, Delays(drain_delay, desired.keep_delay))
    is_draining = bool(set(ending.since) - current - ending.drained)
    return Decision(
        stable=stable,
        target=desired.target,
        canary=canary,
        traffic=traffic,
        draining=ending.since,
        phase=_phase(desired, previous, stable, states, is_draining=is_draining),
        requeue_after=_earliest(ending.requeue_after, requeue_after),
        trial=desired.trial if stable.name != desired.target.name else None,
        rejected=desired.rejected,
        variants=variants,
        matched=matched,
        drained=ending.drained,
        shadow=_shadow(desired, stable, traffic, current | routing.reached, ending),
    )


def _shadow(
    desired: Desired,
    stable: Revision,
    traffic: Iterable[Weight],
    serving: set[str],
    ending: Draining,
) -> Shadow | None:
    """The shadow, of which nothing else serves, and which does not finish any requests.

    The target of a step with a shadow has a role and is in the route, but no share: it may get one
    where the stable revision fails.
    """
    finishing = set(ending.since) - ending.drained
    shares = {share.revision for share in traffic}
    on_trial = _shadow_on_trial(desired, stable)
    if on_trial is not None:
        return effective_shadow(on_trial, shares)
    return effective_shadow(desired.shadow, serving | shares | finishing)


def _shadow_on_trial(desired: Desired, stable: Revision) -> Shadow | None:
    """The target, where it is at a step at which it gets copies only."""
    if desired.trial is None or desired.trial.shadow == 0 or stable.name == desired.target.name:
        return None
    return Shadow(desired.target, desired.trial.shadow)


def _stable(desired: Desired, previous: Previous, states: Mapping[str, RevisionState]) -> Revision:
    """The target once all its pods are ready; else the previous stable revision, if it answers.

    Where it does not, whatever answers is better than what does not: the target with some of its
    pods, or a revision that still drains. Where nothing answers, nothing moves.
    """
    target, current = desired.target, previous.stable
    if current is None or current.name == target.name:
        current = target
    if desired.stopped:
        return current
    if desired.trial is None and _is_ready_for_all(target, desired, states):
        return target
    if desired.takes_over and _answers(target, states):
        return target
    # A target on trial may get all requests, but takes over by its steps alone.
    successor = (target,) if desired.trial is None else ()
    candidates = (current, *successor, *_fallbacks(desired, previous))
    return next((revision for revision in candidates if _answers(revision, states)), current)


def _fallbacks(desired: Desired, previous: Previous) -> Iterable[Revision]:
    """Draining revisions that may serve again; none that was rolled back or is on trial."""
    excluded = {desired.target.name} if desired.trial else set()
    if desired.rejected:
        excluded.add(desired.rejected.revision.name)
    return (revision for revision in previous.fallbacks if revision.name not in excluded)


def _is_ready(revision: Revision, states: Mapping[str, RevisionState]) -> bool:
    return revision.name in states and states[revision.name].is_ready


def _is_ready_for_all(
    target: Revision, desired: Desired, states: Mapping[str, RevisionState]
) -> bool:
    """Whether it has the pods for all requests, and not only those of a canary, say."""
    is_ready = _is_ready(target, states)
    return is_ready and states[target.name].ready >= desired.takeover_replicas


def _answers(revision: Revision, states: Mapping[str, RevisionState]) -> bool:
    return revision.name in states and states[revision.name].answers


def _traffic(
    desired: Desired,
    stable: Revision,
    canary: Revision | None,
    previous: Previous,
    states: Mapping[str, RevisionState],
) -> tuple[Weight, ...]:
    """All to the stable revision, unless another shares it; none to what is down."""
    if variants := beside(stable, desired.variants):
        return _split_traffic(desired, stable, variants, previous, states)
    all_to_stable = (Weight(stable.name, 100),)
    weight = desired.canary_weight
    if (
        desired.trial is not None
        and stable.name != desired.target.name
        and (canary is None or desired.trial.weight > 0)
    ):
        canary, weight = desired.target, desired.trial.weight
        if desired.trial.may_serve and not _answers(stable, states):
            weight = 100
    if canary is None or weight == 0 or desired.stopped or not _answers(canary, states):
        return all_to_stable
    if not _answers(stable, states):
        return (Weight(canary.name, 100),)
    is_split = desired.splits_by_weight or weight == 100 or _are_alone(stable, canary, states)
    had_traffic = any(share.revision == canary.name for share in previous.traffic)
    if not is_split or not _may_serve(canary, had_traffic, states):
        return all_to_stable
    shares = (Weight(stable.name, 100 - weight), Weight(canary.name, weight))
    return tuple(share for share in shares if share.weight > 0)


def _split_traffic(
    desired: Desired,
    stable: Revision,
    variants: Iterable[Variant],
    previous: Previous,
    states: Mapping[str, RevisionState],
) -> tuple[Weight, ...]:
    """To each variant that can serve its weight, and the rest to the stable revision."""
    if desired.stopped or not desired.splits_by_weight:
        return split(stable.name, ())
    had_traffic = {share.revision for share in previous.traffic}
    served = (
        variant
        for variant in variants
        if _may_serve(variant.revision, variant.revision.name in had_traffic, states)
    )
    return split(stable.name, served, is_stable_ready=_answers(stable, states))


def _are_alone(stable: Revision, canary: Revision, states: Mapping[str, RevisionState]) -> bool:
    """Whether no other revision has pods, to which a Service for both would send requests too."""
    return all(name in (stable.name, canary.name) for name, state in states.items() if state.exists)


def _may_serve(canary: Revision, had_traffic: bool, states: Mapping[str, RevisionState]) -> bool:
    """A canary gets traffic once all its pods are ready, and loses it when none of them is.

    Without this difference, each pod that is replaced or added would move the weights back and
    forth.
    """
    return _answers(canary, states) and (had_traffic or _is_ready(canary, states))


def _matched(
    desired: Desired,
    stable: Revision,
    canary: Revision | None,
    previous: Previous,
    states: Mapping[str, RevisionState],
) -> tuple[str, ...]:
    """The revisions that get the requests that match; only a gateway tells requests apart."""
    trial = desired.trial
    variants = beside(stable, desired.variants)
    candidates = [variant.revision for variant in variants if variant.has_matches]
    if canary is not None and desired.canary_matches:
        candidates.append(canary)
    if trial is not None and trial.may_match and desired.target.name != stable.name:
        candidates.append(desired.target)
    if desired.stopped or not desired.splits_by_weight:
        return ()
    return tuple(
        dict.fromkeys(
            revision.name
            for revision in candidates
            if _may_serve(revision, revision.name in previous.matched, states)
        )
    )


def _leaving(
    previous: Previous,
    states: Mapping[str, RevisionState],
    routed: set[str],
    reached: frozenset[str],
) -> set[str]:
    """Revisions that had traffic, or are `reached` by some, and are to have none now.

    This includes revisions that the spec still names, like a canary that has failed: if the spec
    drops them a moment later, the data plane may still send them requests. Those that never had
    any need no draining.
    """
    had_traffic = {share.revision for share in previous.traffic} | previous.matched
    candidates = had_traffic | set(previous.draining) | reached
    return {name for name in candidates if name in states} - routed


def _names(
    stable: Revision, target: Revision, canary: Revision | None, variants: Iterable[Variant]
) -> set[str]:
    """The names of the revisions with a role."""
    others = (variant.revision.name for variant in variants)
    return {stable.name, target.name, *([canary.name] if canary else []), *others}


def _earliest(*waits: float | None) -> float | None:
    return min((seconds for seconds in waits if seconds is not None), default=None)


def _failed(rejected: Rejected | None, states: Mapping[str, RevisionState]) -> set[str]:
    """The target that was rolled back, if it exists."""
    return {rejected.revision.name} & set(states) if rejected else set()


def _leaving_since(draining: Mapping[str, float], rejected: Rejected | None) -> Mapping[str, float]:
    """Since when each revision leaves; one that was rolled back since then."""
    if rejected is None or rejected.progress.rejection is None:
        return draining
    return {**draining, rejected.revision.name: rejected.progress.rejection.at}


class Delays(NamedTuple):
    """The seconds for which a revision stays after its traffic, at least."""

    drain: float  # until its requests have ended
    keep: float  # because the spec says so


class Draining(NamedTuple):
    """The revisions that stay though they have no traffic."""

    since: Mapping[str, float]
    drained: frozenset[str]  # those whose requests have ended
    requeue_after: float | None  # seconds until time alone changes that


def _drain(
    leaving: set[str],
    since: Mapping[str, float],
    routing: LiveRouting,
    now: float,
    delays: Delays,
) -> Draining:
    """Retains a leaving revision as long as requests may reach it, and for the delays."""
    draining: dict[str, float] = {}
    drained: set[str] = set()
    waits: list[float] = []
    for name in sorted(leaving):
        started = min(since.get(name, now), now)  # another leader's clock may have been ahead
        routed = started + max(delays.drain, routing.retention(name)) - now
        remaining = started + delays.keep - now
        if max(routed, remaining) <= 0:
            continue
        draining[name] = started
        if routed > 0:
            # The routing may change with no event: by our own next write.
            waits.append(max(min(routed, delays.drain), 1.0))
        else:
            drained.add(name)
            waits.append(max(remaining, 1.0))
    return Draining(draining, frozenset(drained), min(waits, default=None))


def _phase(
    desired: Desired,
    previous: Previous,
    stable: Revision,
    states: Mapping[str, RevisionState],
    *,
    is_draining: bool,
) -> Phase:
    if desired.stopped:
        return Phase.STOPPED
    if desired.rejected is not None:
        return Phase.FAILED
    if stable.name != desired.target.name:
        return Phase(desired.trial.progress.stage) if desired.trial else Phase.UPDATING
    is_first = previous.stable is None or not previous.traffic
    if is_first and not _is_ready(stable, states):
        return Phase.STARTING
    return Phase.DRAINING if is_draining else Phase.STABLE
