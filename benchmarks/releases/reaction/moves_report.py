"""The results of moves, for machines (JSON) and for people (Markdown)."""

from __future__ import annotations

from collections.abc import Callable

from benchmarks import result_files
from benchmarks.releases.reaction.figures import HEAD, about, row
from benchmarks.releases.reaction.moves import POLL, WEBHOOK, Move, Result

NAME = "reaction-alias"
AIM = 2.0  # seconds, beside the start of the pod and, without a webhook, the poll interval
PARTS: dict[str, Callable[[Move], float]] = {
    "alias moved → first answer": lambda move: move.first_answer,
    "the same without the start of the pod": lambda move: move.reaction,
    "alias moved → Deployment created": lambda move: move.revision_created,
    "Deployment created → pod created": lambda move: move.pod_created - move.revision_created,
    "pod created → pod ready (its start)": lambda move: move.pod_start,
    "pod ready → route accepted, all requests": lambda move: move.route_accepted - move.pod_ready,
    "pod ready → first answer": lambda move: move.first_answer - move.pod_ready,
}


def as_markdown(result: Result) -> str:
    """What each part of a release takes, and each release."""
    return "\n".join(
        [
            "# From the move of an alias to the first answer of the new version",
            "",
            f"The version takes over at once (strategy direct), with one pod. The operator polls "
            f"every {result.poll_interval:g} s, its default. {result.per_second:g} requests per "
            "second through the gateway.",
            "",
            f"Aim: the start of the pod and {AIM:g} s with a webhook; without one, the poll "
            "interval in addition.",
            "",
            *HEAD,
            *_rows(result, WEBHOOK),
            *_rows(result, POLL),
            "",
            "Each release, in seconds from the move:",
            "",
            "| | Deployment created | pod created | pod ready | route accepted | first answer |",
            "|---|---:|---:|---:|---:|---:|",
            *(
                _release(trigger, move)
                for trigger in result.moves
                for move in result.moves[trigger]
            ),
            "",
            about(result.machine),
            "",
        ]
    )


def _rows(result: Result, trigger: str) -> list[str]:
    moves = result.moves[trigger]
    return [
        row(f"{trigger}: {name}", [part(move) for move in moves]) for name, part in PARTS.items()
    ]


def _release(trigger: str, move: Move) -> str:
    times = (
        *(move.revision_created, move.pod_created, move.pod_ready),
        *(move.route_accepted, move.first_answer),
    )
    return f"| {trigger} | {' | '.join(f'{seconds:.2f}' for seconds in times)} |"


def write(result: Result) -> None:
    """Writes both files."""
    result_files.write(NAME, result.as_json(), as_markdown(result))
