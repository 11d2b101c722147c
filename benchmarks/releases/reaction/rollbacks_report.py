"""The results of rollbacks, for machines (JSON) and for people (Markdown)."""

from __future__ import annotations

from collections.abc import Callable

from benchmarks import result_files
from benchmarks.releases.reaction.figures import HEAD, about, row
from benchmarks.releases.reaction.rollbacks import Result, Rollback

NAME = "reaction-rollback"
AIM = 2.0  # seconds, beside the interval of the analysis
PARTS: dict[str, Callable[[Rollback], float]] = {
    "first bad answer → weights back, accepted": lambda rollback: rollback.accepted,
    "enough bad answers → weights back, accepted": lambda rollback: rollback.reaction,
    "first bad answer → enough bad answers": lambda rollback: rollback.measurable,
    "weights back in the live route → accepted": lambda rollback: (
        rollback.accepted - rollback.requested
    ),
    "first bad answer → last bad answer": lambda rollback: rollback.last_bad_answer,
}


def as_markdown(result: Result) -> str:
    """What passes until a version that begins to fail gets no requests, and each rollback."""
    return "\n".join(
        [
            "# From the first bad answer of a new version until its weight is 0",
            "",
            f"The new version has a weight of {result.weight}, and has been checked at least once "
            "when it begins to answer each request with 500, at any time between two checks. "
            f"The interval of the analysis is {result.interval:g} s; all else is its default. "
            f"{result.per_second:g} requests per second through the gateway. There are enough bad "
            "answers when the statistical test says so of all answers until then.",
            "",
            f"Aim: one interval and {AIM:g} s.",
            "",
            *HEAD,
            *(
                row(name, [part(rollback) for rollback in result.rollbacks])
                for name, part in PARTS.items()
            ),
            "",
            "Each rollback, in seconds from the first bad answer:",
            "",
            "| enough bad answers | weights back in the live route | accepted | last bad answer "
            "| bad answers |",
            "|---:|---:|---:|---:|---:|",
            *(_row(rollback) for rollback in result.rollbacks),
            "",
            about(result.machine),
            "",
        ]
    )


def _row(rollback: Rollback) -> str:
    times = (
        *(rollback.measurable, rollback.requested),
        *(rollback.accepted, rollback.last_bad_answer),
    )
    seconds = " | ".join(f"{time:.2f}" for time in times)
    bad = ", ".join(f"{number} × {status}" for status, number in rollback.bad_answers.items())
    return f"| {seconds} | {bad} |"


def write(result: Result) -> None:
    """Writes both files."""
    result_files.write(NAME, result.as_json(), as_markdown(result))
