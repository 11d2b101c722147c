"""The chart's tests need helm, and nothing else of the cluster's tools."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from dev.cluster.settings import read_settings
from tests.integration import control_plane
from tests.unit.chart.rendering import Helm


@pytest.fixture(scope="session")
def helm() -> Helm:
    """The helm of this project, built at the first call ever, or the one that HELM names."""
    if other := os.environ.get("HELM"):
        return Helm(Path(other))
    program = read_settings().bin / "helm"
    return Helm(program if program.exists() else control_plane.tools("helm") / "helm")
