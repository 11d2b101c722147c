"""Words of others are shown, but never trusted."""

from __future__ import annotations

import doctest
import json
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from mlflow_model_operator.api.text import MAX_TEXT_LENGTH, single_line
from mlflow_model_operator.status import text
from mlflow_model_operator.status.text import (
    last_line,
    pull_message,
    scheduler_message,
    termination_message,
    without_pod_name,
)

anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(max_size=8), inner),
    max_leaves=8,
)
reports = st.fixed_dictionaries({"reason": anything, "message": anything})


@given(anything | anything.map(json.dumps) | reports.map(json.dumps))
@example("[" * 100_000)
@example('{"reason": ' * 5_000)
@example("1" * 5_000)
@example('{"reason": "A", "message": "\\ud800"}')
def test_any_termination_message_is_bounded(left: Any) -> None:
    message = termination_message(left)
    assert message is None or max(len(message.reason), len(message.message)) <= MAX_TEXT_LENGTH


any_text = st.text(st.characters(), max_size=3000)  # lone surrogates too


@given(any_text)
def test_shown_text_is_a_single_bounded_line_that_survives_the_api_server(words: str) -> None:
    for shown in (
        single_line(words),
        last_line(words),
        pull_message(words),
        scheduler_message(words),
        without_pod_name(words),
    ):
        assert len(shown) <= MAX_TEXT_LENGTH
        assert shown.isprintable()
        assert shown.encode().decode() == shown


@pytest.mark.parametrize("other", [None, 1, b"bytes", ["list"], {}])
def test_anything_but_text_is_empty(other: Any) -> None:
    assert single_line(other) == ""
    assert last_line(other) == ""
    assert termination_message(other) is None


def test_passwords_are_not_shown() -> None:
    shown = single_line("GET https://user:secret@pypi.example.com/simple failed")
    assert shown == "GET https://pypi.example.com/simple failed"


def test_colours_are_left_out() -> None:
    assert (
        single_line("UserWarning: \x1b[33mAdd type hints.\x1b[0m") == "UserWarning: Add type hints."
    )


def test_the_last_line_that_says_something() -> None:
    assert last_line("Traceback:\n  ValueError: no\n\n \n") == "ValueError: no"


def test_the_examples_in_the_code() -> None:
    assert doctest.testmod(text).failed == 0
