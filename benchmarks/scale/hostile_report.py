"""The results of benchmarks.scale.hostile, for machines (JSON) and for people (Markdown)."""

from __future__ import annotations

import statistics
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from typing import Any

from benchmarks import result_files

MEMORY_LIMIT = 512  # MiB, of the chart's default


@dataclass
class Figures:
    """What the good resources took, and the operator. Times are in seconds, memory is in MiB."""

    children_after: float = 0.0
    ready_after: float = 0.0
    change_median: float = 0.0
    cpu_seconds: float = 0.0
    peak_mebibytes: float = 0.0
    errors_in_log: int = 0


@dataclass
class Result:
    """All rounds."""

    good: int
    servers: int
    hostile_resources: int
    kinds: list[str]
    cores: int
    load_before: tuple[float, ...]
    load_after: tuple[float, ...] = ()
    alone: list[Figures] = field(default_factory=list)
    beside: list[Figures] = field(default_factory=list)

    def as_json(self) -> dict[str, Any]:
        """All figures."""
        return asdict(self)


ROWS: tuple[tuple[str, str, Callable[[Figures], float]], ...] = (
    ("All children of the good ones exist after", "s", lambda f: f.children_after),
    ("All good ones are Ready after", "s", lambda f: f.ready_after),
    ("From a change to its Deployment", "ms", lambda f: 1000 * f.change_median),
    ("CPU of the operator until then", "s", lambda f: f.cpu_seconds),
    ("Peak memory of the operator", "MiB", lambda f: f.peak_mebibytes),
    ("ERROR lines in its log", "", lambda f: float(f.errors_in_log)),
)


def as_markdown(result: Result) -> str:
    """Alone and beside the hostile servers; medians of the rounds."""
    lines = [
        f"# {result.good:,} good resources beside {result.servers:,} hostile tracking servers",
        "",
        "| | alone | beside them | ratio |",
        "|---|---:|---:|---:|",
    ]
    for name, unit, figure in ROWS:
        alone = statistics.median(map(figure, result.alone))
        beside = statistics.median(map(figure, result.beside))
        ratio = f"{beside / alone:.2f}" if alone else ""
        lines.append(f"| {name} | {alone:.0f} {unit} | {beside:.0f} {unit} | {ratio} |")
    return "\n".join([*lines, "", *_remarks(result), ""])


def write(result: Result) -> None:
    """Writes both files, named by the numbers of resources and servers."""
    name = f"hostile-{result.good}-{result.servers}"
    result_files.write(name, result.as_json(), as_markdown(result))


def _remarks(result: Result) -> list[str]:
    rounds = len(result.alone)
    return [
        f"{result.hostile_resources} resources in other namespaces name the hostile servers: "
        f"{', '.join(kind.replace('_', ' ') for kind in result.kinds)}. All of them are allowed; "
        f"the memory limit of the chart is {MEMORY_LIMIT} MiB.",
        "",
        f"{'Medians of ' + str(rounds) + ' rounds' if rounds > 1 else 'One round'} on "
        f"{result.cores} cores, load average {result.load_before[0]:.1f} before and "
        f"{result.load_after[0]:.1f} after.",
    ]
