"""Results for machines (JSON) and for people (Markdown)."""

from __future__ import annotations

import json
import statistics

from benchmarks import result_files
from benchmarks.releases.measure import STEPS, Release, Result

MAX_LISTED = 40


def as_markdown(result: Result) -> str:
    """The requests, the failed ones, the gaps, and each release."""
    options = result.options
    p50, p99, p999, slowest = (1000 * seconds for seconds in result.slowest)
    kills = sum(release.operator_killed_after is not None for release in result.releases)
    first = [release.first_answer for release in result.releases]
    complete = [release.complete for release in result.releases]
    rollout = f"steps {json.dumps(STEPS)}" if options.steps else "no steps (strategy direct)"
    return "\n".join(
        [
            f"# Requests lost in {len(result.releases)} releases",
            "",
            f"{rollout}; {options.per_second:g} requests per second through the gateway, "
            f"{result.seconds:.0f} s; the operator was killed in {kills} of the releases.",
            "",
            "| | |",
            "|---|---:|",
            f"| requests | {result.requests:,} |",
            f"| failed | {len(result.failures):,} |",
            f"| requests per second | {result.requests / result.seconds:.0f} |",
            f"| p50, p99, p99.9, slowest | {p50:.1f}, {p99:.1f}, {p999:.0f}, {slowest:.0f} ms |",
            f"| gaps above 100 ms between two responses | {len(result.gaps)} |",
            f"| alias moved → first response, median, slowest | {statistics.median(first):.1f}, "
            f"{max(first):.1f} s |",
            f"| alias moved → all requests, median, slowest | {statistics.median(complete):.1f}, "
            f"{max(complete):.1f} s |",
            "",
            *_listed("Gaps", [f"at {at:.1f} s: {gap * 1000:.0f} ms" for at, gap in result.gaps]),
            *_listed("Failed", [f"at {at:.1f} s: {text[:160]}" for at, text in result.failures]),
            "| release | first response, s | all requests, s | operator killed after, s |",
            "|---:|---:|---:|---:|",
            *(_row(number, release) for number, release in enumerate(result.releases, 1)),
            "",
            f"{result.machine['cpu']}, {result.machine['cores']} cores, {result.machine['date']}; "
            "load and cluster share the machine.",
            "",
        ]
    )


def _listed(title: str, lines: list[str]) -> list[str]:
    if not lines:
        return []
    more = [f"- and {len(lines) - MAX_LISTED} more"] if len(lines) > MAX_LISTED else []
    return [f"{title}:", "", *(f"- {line}" for line in lines[:MAX_LISTED]), *more, ""]


def _row(number: int, release: Release) -> str:
    killed = release.operator_killed_after
    last = "" if killed is None else f"{killed:.1f}"
    return f"| {number} | {release.first_answer:.1f} | {release.complete:.1f} | {last} |"


def write(result: Result) -> None:
    """Writes both files, named by the kind of rollout."""
    result_files.write(
        f"releases-{'steps' if result.options.steps else 'direct'}",
        result.as_json(),
        as_markdown(result),
    )
