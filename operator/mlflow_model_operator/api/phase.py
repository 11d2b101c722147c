"""The phases of a rollout."""

from __future__ import annotations

from enum import StrEnum


class Phase(StrEnum):
    """The phase of the rollout, as shown in `status.rollout.phase`."""

    STARTING = "Starting"  # no revision has served yet
    UPDATING = "Updating"  # a new revision is getting ready while another serves
    # A new revision is ready, but the Service or the gateway still sends requests to the old one.
    MOVING = "Moving"
    DRAINING = "Draining"  # the traffic has moved, the old revision finishes its requests
    STABLE = "Stable"
    STOPPED = "Stopped"  # scaled to zero by its owner
    # Of a rollout in steps, as rollout/progress.py has them.
    PREPARING = "Preparing"
    PROGRESSING = "Progressing"
    PAUSED = "Paused"
    PROMOTING = "Promoting"
    FAILED = "Failed"
    UNDOING = "Undoing"


class ShadowPhase(StrEnum):
    """Where a shadow is, as shown in `status.shadow.phase`."""

    STARTING = "Starting"  # its pods are starting, or none of those that send copies reports it yet
    SHADOWING = "Shadowing"
    STOPPED = "Stopped"  # scaled to zero with the resource
    FAILED = "Failed"  # its pods do not start
