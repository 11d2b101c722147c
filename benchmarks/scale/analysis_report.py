"""The results of benchmarks.scale.analysis, for machines (JSON) and for people (Markdown)."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from benchmarks import result_files

MAX_CORES, MAX_MEBIBYTES = 1.0, 300.0  # the aims


@dataclass
class Phase:
    """Some seconds of the operator."""

    seconds: float = 0.0
    cpu_seconds: float = 0.0
    peak_mebibytes: float = 0.0  # since its start
    pod_reads: int = 0  # by its own metrics
    failed_reads: int = 0
    errors_in_log: int = 0

    @property
    def cores(self) -> float:
        """The share of a core that it used."""
        return self.cpu_seconds / self.seconds if self.seconds else 0.0


@dataclass
class Result:
    """Without a rollout, and with many at once."""

    resources: int
    rollouts: int
    pods: int  # that are read for each rollout
    interval: str
    limits: int  # of each analysis
    exposition_bytes: int
    cores: int
    load_before: tuple[float, ...]
    load_after: tuple[float, ...]
    without: Phase
    during: Phase

    def as_json(self) -> dict[str, Any]:
        """All figures."""
        return asdict(self)


def as_markdown(result: Result) -> str:
    """Both phases side by side."""
    without, during = result.without, result.during
    rows = (
        ("Rollouts under analysis", "0", f"{result.rollouts}"),
        ("Reads of pods' metrics", f"{without.pod_reads}", f"{during.pod_reads:,}"),
        ("… of these, failed", f"{without.failed_reads}", f"{during.failed_reads}"),
        ("CPU of the operator, cores", f"{without.cores:.3f}", f"{during.cores:.3f}"),
        (
            "Peak memory of the operator since its start",
            f"{without.peak_mebibytes:.0f} MiB",
            f"{during.peak_mebibytes:.0f} MiB",
        ),
        ("ERROR lines in its log", f"{without.errors_in_log}", f"{during.errors_in_log}"),
        ("Measured for", f"{without.seconds:.0f} s", f"{during.seconds:.0f} s"),
    )
    lines = [
        f"# {result.rollouts} rollouts under analysis beside {result.resources:,} resources",
        "",
        "| | without rollouts | during |",
        "|---|---:|---:|",
        *(f"| {name} | {before} | {after} |" for name, before, after in rows),
        "",
        f"Each rollout is checked every {result.interval}, with {result.limits} limits and "
        f"{result.pods} pods whose metrics have {result.exposition_bytes / 1024:.0f} KiB. All "
        f"{result.resources + result.rollouts:,} resources have an analysis in their spec.",
        "",
        f"On {result.cores} cores, load average {result.load_before[0]:.1f} before and "
        f"{result.load_after[0]:.1f} after. Aims: below {MAX_CORES:g} core and "
        f"{MAX_MEBIBYTES:g} MiB.",
        "",
    ]
    return "\n".join(lines)


def write(result: Result) -> None:
    """Writes both files, named by the numbers of resources and rollouts."""
    name = f"analysis-{result.resources}-{result.rollouts}"
    result_files.write(name, result.as_json(), as_markdown(result))
