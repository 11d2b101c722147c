"""Undoing what an engine does to the packet filter: a stopped engine leaves it behind."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

from .files import write_atomically
from .shell import attempt, environment, which

ENGINE_RULE = re.compile(r"DOCKER|\bdocker0\b|\bbr-[0-9a-f]{12}\b")
FORWARD_POLICY = re.compile(r"^:FORWARD (\w+)", re.MULTILINE)


def note_forward_policy(path: Path) -> None:
    """Note what becomes of forwarded packets before an engine changes that."""
    saved = _save()
    policy = FORWARD_POLICY.search(saved)
    if not ENGINE_RULE.search(saved):
        write_atomically(path, policy.group(1) if policy else "ACCEPT")


def remove_engine_rules(noted_policy: Path) -> None:
    """Load the rules again without the engine's, and with the policy from before it."""
    saved = _save()
    policy = noted_policy.read_text() if noted_policy.exists() else "ACCEPT"
    kept = without_engine_rules(saved, policy)
    if kept != saved:
        _restore(kept)


def without_engine_rules(saved: str, policy: str) -> str:
    """Drop the engine's chains and rules from what `iptables-save` printed."""
    lines = saved.splitlines(keepends=True)
    kept = "".join(line for line in lines if not ENGINE_RULE.search(line))
    table, mark, rest = kept.partition("*filter\n")
    return table + mark + FORWARD_POLICY.sub(f":FORWARD {policy}", rest, count=1)


def _save() -> str:
    return attempt("iptables-save").stdout if which("iptables-save") else ""


def _restore(rules: str) -> None:
    subprocess.run(
        ["iptables-restore"],
        input=rules,
        text=True,
        env=environment(),
        check=False,
        capture_output=True,
    )
