"""The phases of a rollout, which may last only a moment."""

from __future__ import annotations

import time
from typing import Any

from dev import kube
from e2e.steps.given import DeployedModel

SECONDS = 180
PAUSE = 0.05  # seconds between two looks: a phase may be short


def then_the_phase_is(deployed: DeployedModel, phase: str, version: int) -> dict[str, Any]:
    """The rollout of a version comes to this phase; returns the status that says so."""
    deadline = time.monotonic() + SECONDS
    while time.monotonic() < deadline:
        status = deployed.status
        if (phase_of(status), target_of(status)) == (phase, str(version)):
            return status
        time.sleep(PAUSE)
    raise AssertionError(
        f"Not within {SECONDS} s: the rollout of version {version} is {phase}\n"
        f"{kube.story(deployed.namespace)}"
    )


def phase_of(status: dict[str, Any]) -> str:
    """The phase that a status names; "" where it names none."""
    return str(status.get("rollout", {}).get("phase", ""))


def target_of(status: dict[str, Any]) -> str:
    """The version that is rolled out, or was last."""
    rollout = status.get("rollout", {})
    sides = (status.get("stable", {}), status.get("target", {}), *rollout.get("failed", ()))
    versions = {side.get("revision"): side.get("modelVersion") for side in sides}
    return str(versions.get(rollout.get("revision"), ""))


def stable_of(status: dict[str, Any]) -> str:
    """The version that serves."""
    return str(status.get("stable", {}).get("modelVersion", ""))


def weights_of(deployed: DeployedModel) -> dict[str, int]:
    """By version, as the status has them."""
    return {share["modelVersion"]: share["weight"] for share in deployed.status.get("traffic", ())}
