"""The diagram in the documentation is the state machine of the code."""

from __future__ import annotations

import re
from pathlib import Path

from mlflow_model_operator.rollout import Phase
from mlflow_model_operator.rollout.progress import TRANSITIONS, Action, Cause, Stage

PAGE = Path(__file__).parents[4] / "docs/rollouts.md"


def test_the_diagram_shows_each_transition_and_no_other() -> None:
    rows = re.findall(r"^    (\w+) --> (\w+): (.+)$", PAGE.read_text(), re.MULTILINE)
    assert len(rows) == len(TRANSITIONS)
    assert {(start, trigger, end) for start, end, trigger in rows} == {
        (str(start), str(trigger), str(end)) for start, trigger, end in TRANSITIONS
    }


def test_the_page_explains_each_cause_and_each_word_of_control() -> None:
    cells = set(re.findall(r"^\| `(\w+)` \|", PAGE.read_text(), re.MULTILINE))
    assert {*Cause, *Action} <= cells


def test_each_stage_is_a_phase_of_the_status() -> None:
    assert {str(stage) for stage in Stage} <= {str(phase) for phase in Phase}
