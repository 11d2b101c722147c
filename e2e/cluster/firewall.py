"""Taking an engine's packet filter rules away again: a stopped engine leaves them behind."""

from __future__ import annotations

import re
import subprocess

from .shell import attempt, environment, which

ENGINE_RULE = re.compile(r"DOCKER|\bdocker0\b|\bbr-[0-9a-f]{12}\b")


def without_engine_rules(saved: str) -> str:
    """Drop the engine's chains and rules from what `iptables-save` printed."""
    return "".join(line for line in saved.splitlines(keepends=True) if not ENGINE_RULE.search(line))


def remove_engine_rules() -> None:
    """Load the rules again without the engine's."""
    if not which("iptables-save"):
        return
    saved = attempt("iptables-save").stdout
    kept = without_engine_rules(saved)
    if kept != saved:
        subprocess.run(
            ["iptables-restore"],
            input=kept,
            text=True,
            env=environment(),
            check=False,
            capture_output=True,
        )
