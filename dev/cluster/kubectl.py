"""kubectl, bound to one cluster."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

from .settings import Settings
from .shell import attempt, capture, run


class Kubectl:
    """Runs the cached kubectl against our kubeconfig."""

    def __init__(self, settings: Settings) -> None:
        self._program = settings.bin / "kubectl"
        self._flag = f"--kubeconfig={settings.kubeconfig}"

    def get(self, *arguments: str) -> Any:
        """Return objects as JSON."""
        return json.loads(capture(self._program, self._flag, "get", *arguments, "--output=json"))

    def apply(self, manifest: str) -> None:
        """Apply a manifest given as text."""
        self.run("apply", "--server-side", "--force-conflicts", "--filename=-", stdin=manifest)

    def run(self, *arguments: str | Path, stdin: str | None = None) -> None:
        """Run a command that must succeed."""
        run(self._program, self._flag, *arguments, log="kubectl", stdin=stdin)

    def attempt(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run a command that may fail."""
        return attempt(self._program, self._flag, *arguments, timeout=60)
