"""Which revision serves, by the spec, the status and the live Deployments.

An update makes a revision ready, moves the traffic, drains the old revision and removes it; a
rollback moves the weights back to pods that still run. `decide` holds no state: what it needs of
the past is in the resource's status, so the operator may restart between any two calls.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from mlflow_model_operator.rollout.routing import LiveRouting
from mlflow_model_operator.rollout.state import Revision, RevisionState, Weight


class Phase(StrEnum):
    """The phase of the rollout, as shown in `status.rollout.phase`."""

    STARTING = "Starting"  # no revision has served yet
    UPDATING = "Updating"  # a new revision is getting ready while another serves
    # A new revision is ready, but the Service or the gateway still sends requests to the old one.
    MOVING = "Moving"
    DRAINING = "Draining"  # the traffic has moved, the old revision finishes its requests
    STABLE = "Stable"
    STOPPED = "Stopped"  # scaled to zero by its owner


@dataclass(frozen=True)
class Desired:
    """What the spec asks for, with its model URIs resolved."""

    target: Revision
    canary: Revision | None = None
    canary_weight: int = 0  # percent
    stopped: bool = False  # spec.scaling.minReplicas is 0
    # Whether a gateway splits the traffic. A Service gives requests to all pods, or to one
    # revision's.
    splits_by_weight: bool = True


@dataclass(frozen=True)
class Previous:
    """The previous decision, as the status records it."""

    stable: Revision | None = None
    traffic: tuple[Weight, ...] = ()
    draining: Mapping[str, float] = field(default_factory=dict)  # revision → since, epoch seconds
    target: Revision | None = None  # where it was not the stable one
    # Draining revisions that still run, which can serve again where the stable one fails.
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

    @property
    def identity(self) -> Hashable:
        """Equal for decisions that ask for the same objects."""
        return (self.stable, self.target, self.canary, self.traffic, self.retained)

    @property
    def revisions(self) -> frozenset[Revision]:
        """The stable revision, the target and the canary: all but the draining ones."""
        return frozenset(filter(None, (self.stable, self.target, self.canary)))

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
) -> Decision:
    """Decides which revision is stable, how the traffic splits, and which revisions may end.

    `states` holds every revision that exists, by name. `routing` is what the data plane does.
    `now` and `drain_delay` are in seconds.
    """
    stable = _stable(desired, previous, states)
    canary = desired.canary if desired.canary and desired.canary.name != stable.name else None
    traffic = _traffic(desired, stable, canary, previous, states)
    current = {revision.name for revision in (stable, desired.target, canary) if revision}
    leaving = _leaving(previous, states, traffic, routing.reached - current)
    draining, requeue_after = _drain(leaving, previous.draining, routing, now, drain_delay)
    return Decision(
        stable=stable,
        target=desired.target,
        canary=canary,
        traffic=traffic,
        draining=draining,
        phase=_phase(desired, previous, stable, states, is_draining=bool(set(draining) - current)),
        requeue_after=requeue_after,
    )


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
    if _is_ready(target, states):
        return target
    candidates = (current, target, *previous.fallbacks)
    return next((revision for revision in candidates if _answers(revision, states)), current)


def _is_ready(revision: Revision, states: Mapping[str, RevisionState]) -> bool:
    return revision.name in states and states[revision.name].is_ready


def _answers(revision: Revision, states: Mapping[str, RevisionState]) -> bool:
    return revision.name in states and states[revision.name].answers


def _traffic(
    desired: Desired,
    stable: Revision,
    canary: Revision | None,
    previous: Previous,
    states: Mapping[str, RevisionState],
) -> tuple[Weight, ...]:
    """All to the stable revision, unless there is a canary to share it; none to what is down."""
    all_to_stable = (Weight(stable.name, 100),)
    weight = desired.canary_weight
    if canary is None or weight == 0 or desired.stopped or not _answers(canary, states):
        return all_to_stable
    if not _answers(stable, states):
        return (Weight(canary.name, 100),)
    is_split = desired.splits_by_weight or weight == 100 or _are_alone(stable, canary, states)
    if not is_split or not _may_serve(canary, previous, states):
        return all_to_stable
    shares = (Weight(stable.name, 100 - weight), Weight(canary.name, weight))
    return tuple(share for share in shares if share.weight > 0)


def _are_alone(stable: Revision, canary: Revision, states: Mapping[str, RevisionState]) -> bool:
    """Whether no other revision has pods, to which a Service for both would send requests too."""
    return all(name in (stable.name, canary.name) for name, state in states.items() if state.exists)


def _may_serve(canary: Revision, previous: Previous, states: Mapping[str, RevisionState]) -> bool:
    """A canary gets traffic once all its pods are ready, and loses it when none of them is.

    Without this difference, each pod that is replaced or added would move the weights back and
    forth.
    """
    has_traffic = any(share.revision == canary.name for share in previous.traffic)
    return has_traffic or _is_ready(canary, states)


def _leaving(
    previous: Previous,
    states: Mapping[str, RevisionState],
    traffic: tuple[Weight, ...],
    reached: frozenset[str],
) -> set[str]:
    """Revisions that had traffic, or are `reached` by some, and are to have none now.

    This includes revisions that the spec still names, like a canary that has failed: if the spec
    drops them a moment later, the data plane may still send them requests. Those that never had
    any need no draining.
    """
    had_traffic = {share.revision for share in previous.traffic} | set(previous.draining)
    has_traffic = {share.revision for share in traffic}
    return {name for name in had_traffic | reached if name in states} - has_traffic


def _drain(
    leaving: set[str],
    since: Mapping[str, float],
    routing: LiveRouting,
    now: float,
    delay: float,
) -> tuple[Mapping[str, float], float | None]:
    """Retains a leaving revision as long as requests may reach it, and at least `delay` seconds.

    Returns since when each drains, and the seconds after which to look again.
    """
    draining: dict[str, float] = {}
    waits: list[float] = []
    for name in sorted(leaving):
        started = min(since.get(name, now), now)  # another leader's clock may have been ahead
        remaining = started + max(delay, routing.retention(name)) - now
        if remaining <= 0:
            continue
        draining[name] = started
        # The routing may change with no event: by our own next write.
        waits.append(max(min(remaining, delay), 1.0))
    return draining, min(waits, default=None)


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
    if stable.name != desired.target.name:
        return Phase.UPDATING
    is_first = previous.stable is None or not previous.traffic
    if is_first and not _is_ready(stable, states):
        return Phase.STARTING
    return Phase.DRAINING if is_draining else Phase.STABLE
