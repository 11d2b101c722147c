"""Which revision serves, by the spec, the status and the live Deployments.

An update makes a revision ready, moves the traffic, drains the old revision and removes it; a
rollback moves the weights back to pods that still run. `decide` holds no state: what it needs of
the past is in the resource's status, so the operator may restart between any two calls.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from mlflow_model_operator.rollout.state import Revision, RevisionState, Weight


class Phase(StrEnum):
    """The phase of the rollout, as shown in `status.rollout.phase`."""

    STARTING = "Starting"  # no revision has served yet
    UPDATING = "Updating"  # a new revision is getting ready while another serves
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


@dataclass(frozen=True)
class Previous:
    """The previous decision, as the status records it."""

    stable: Revision | None = None
    traffic: tuple[Weight, ...] = ()
    draining: Mapping[str, float] = field(default_factory=dict)  # revision → since, epoch seconds
    target: Revision | None = None  # where it was not the stable one


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
    traffic_applied: bool,
    now: float,
    drain_delay: float,
) -> Decision:
    """Decides which revision is stable, how the traffic splits, and which revisions may end.

    `states` holds every revision that exists, by name. `traffic_applied` says that the data plane
    follows the previous traffic (the gateway has accepted the route). `now` and `drain_delay` are
    in seconds.
    """
    stable = _stable(desired, previous, states)
    canary = desired.canary if desired.canary and desired.canary.name != stable.name else None
    traffic = _traffic(stable, canary, desired.canary_weight, previous, states)
    leaving = _leaving(previous, states, traffic)
    has_moved = traffic_applied and traffic == previous.traffic
    draining, requeue_after = _drain(leaving, previous.draining, has_moved, now, drain_delay)
    current = {revision.name for revision in (stable, desired.target, canary) if revision}
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
    """The previous stable revision stays until the target can take its place."""
    current = previous.stable
    if current is None or current.name == desired.target.name or desired.stopped:
        return desired.target
    is_gone = current.name not in states or not states[current.name].exists
    return desired.target if _is_ready(desired.target, states) or is_gone else current


def _is_ready(revision: Revision, states: Mapping[str, RevisionState]) -> bool:
    return revision.name in states and states[revision.name].is_ready


def _traffic(
    stable: Revision,
    canary: Revision | None,
    weight: int,
    previous: Previous,
    states: Mapping[str, RevisionState],
) -> tuple[Weight, ...]:
    if canary is None or weight == 0 or not _may_serve(canary.name, previous, states):
        return (Weight(stable.name, 100),)
    shares = (Weight(stable.name, 100 - weight), Weight(canary.name, weight))
    return tuple(share for share in shares if share.weight > 0)


def _may_serve(name: str, previous: Previous, states: Mapping[str, RevisionState]) -> bool:
    """A canary gets traffic once all its pods are ready, and loses it when none of them is.

    Without this difference, each pod that is replaced or added would move the weights back and
    forth.
    """
    state = states.get(name)
    if state is None or not state.exists:
        return False
    serves_already = any(share.revision == name for share in previous.traffic)
    return state.ready > 0 if serves_already else state.is_ready


def _leaving(
    previous: Previous, states: Mapping[str, RevisionState], traffic: tuple[Weight, ...]
) -> set[str]:
    """Revisions that had traffic and have none now. Those that never had any need no draining.

    This includes revisions that the spec still names, like a canary that has failed: if the spec
    drops them a moment later, the data plane may still send them requests.
    """
    had_traffic = {share.revision for share in previous.traffic} | set(previous.draining)
    has_traffic = {share.revision for share in traffic}
    return {name for name in had_traffic if name in states} - has_traffic


def _drain(
    leaving: set[str],
    since: Mapping[str, float],
    has_moved: bool,
    now: float,
    delay: float,
) -> tuple[Mapping[str, float], float | None]:
    """Retains a leaving revision until its traffic has moved for certain, and `delay` seconds more.

    Returns since when each drains, and the seconds after which to look again.
    """
    draining: dict[str, float] = {}
    waits: list[float] = []
    for name in sorted(leaving):
        started = since.get(name, now)
        left = started + delay - now
        if has_moved and left <= 0:
            continue
        draining[name] = started
        waits.append(max(left, 1.0))
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
