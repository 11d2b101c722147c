"""How seconds are summed up for people."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from typing import Any

HEAD = ("| seconds | n | mean | median | worst |", "|---|---:|---:|---:|---:|")


def row(name: str, seconds: Sequence[float]) -> str:
    """A line of the table."""
    mean, median = statistics.mean(seconds), statistics.median(seconds)
    return f"| {name} | {len(seconds)} | {mean:.2f} | {median:.2f} | {max(seconds):.2f} |"


def about(machine: dict[str, Any]) -> str:
    """The machine, in a sentence."""
    return (
        f"{machine['cpu']}, {machine['cores']} cores, {machine['date']}; load and cluster share "
        "the machine."
    )
