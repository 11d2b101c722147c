"""Where an undo leads, by the history."""

from __future__ import annotations

import pytest

from mlflow_model_operator.api.status import HistoryEntry
from mlflow_model_operator.plan.undo import PROMOTED, UNDO, earlier_entries
from mlflow_model_operator.status.rollout import RolloutOutcome, RolloutTrigger


def history(text: str) -> list[HistoryEntry]:
    """ "1 2! 1u": version 1, then 2 which failed, then an undo to 1."""
    return [
        HistoryEntry(
            revision=f"wine-{word[0]}",
            model_version=word[0],
            trigger=UNDO if word.endswith("u") else "Registry",
            verdict="Failed" if word.endswith("!") else PROMOTED,
        )
        for word in text.split()
    ]


@pytest.mark.parametrize(
    ("past", "stable", "target", "version", "expected"),
    [
        ("1 2 3", "3", "3", "", "2 1"),
        ("1 2! 3", "3", "3", "", "1"),
        ("1 2! 3", "3", "3", "2", ""),
        ("1 2 3 2u", "2", "3", "", "1"),  # an undo is no promotion
        ("1 2 3 2u 1u", "1", "3", "", ""),
        ("1 2 3 2", "2", "2", "", "3 1"),
        ("1 2 3 2u", "2", "3", "3", ""),  # what the spec asks for is tried again by retry
        ("1 2 3", "3", "3", "1", "1"),
        ("1 2 3", "3", "3", "wine-1", "1"),
        ("1 2 3", "3", "3", "9", ""),
        ("1 2 3u", "3", "2", "", "1"),  # its promotion is out of the last ten
        ("1 2", "9", "9", "", "2 1"),
        ("", "1", "1", "", ""),
    ],
)
def test_an_undo_leads_to_what_was_promoted_before(
    past: str, stable: str, target: str, version: str, expected: str
) -> None:
    entries = earlier_entries(history(past), f"wine-{stable}", f"wine-{target}", version)
    assert [entry.model_version for entry in entries] == expected.split()


def test_the_words_are_those_of_the_status() -> None:
    assert (PROMOTED, UNDO) == (RolloutOutcome.PROMOTED, RolloutTrigger.UNDO)
