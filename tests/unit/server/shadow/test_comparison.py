"""The comparison of two answers to the same request."""

from __future__ import annotations

import json
import math
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlflow_model_server.shadow import comparison
from mlflow_model_server.shadow.comparison import Comparison, Incomparable, compare

NUMBERS = st.floats(allow_nan=False, allow_infinity=False) | st.integers(-(2**53), 2**53)
SCALARS = NUMBERS | st.text(max_size=5) | st.booleans() | st.none()
CELLS = SCALARS | st.lists(SCALARS, max_size=3)
RECORDS = st.dictionaries(st.text(max_size=3), CELLS, max_size=3)
ROWS = st.lists(SCALARS, max_size=9) | st.lists(st.lists(CELLS, max_size=3), max_size=9)
PREDICTIONS = ROWS | st.lists(RECORDS, max_size=9)


def body(predictions: Any) -> bytes:
    return json.dumps({"predictions": predictions}).encode()


def compared(stable: Any, shadow: Any) -> Comparison:
    return compare(body(stable), body(shadow))


def numbers(result: Comparison) -> tuple[int, int, int, float]:
    return result.rows, result.disagreed, result.numeric_rows, result.absolute_error


@pytest.mark.parametrize(
    ("stable", "shadow", "expected"),
    [
        ([1.0, 2.0], [1.0, 2.5], (2, 1, 2, 0.5)),
        ([1000.0], [1000.9], (1, 0, 1, pytest.approx(0.9))),
        ([1000.0], [1001.1], (1, 1, 1, pytest.approx(1.1))),
        ([0.0], [0.9e-6], (1, 0, 1, pytest.approx(0.9e-6))),
        ([1, 2, 3], [1, 2, 4], (3, 1, 0, 0.0)),
        ([1000000], [1000001], (1, 1, 0, 0.0)),
        ([2], [2.0], (1, 0, 1, 0.0)),
        (["red", "white"], ["red", "red"], (2, 1, 0, 0.0)),
        ([True, False, None], [True, True, None], (3, 1, 0, 0.0)),
        ([True], [1], (1, 1, 0, 0.0)),
        ([None], [1.0], (1, 1, 0, 0.0)),
        (["1"], [1], (1, 1, 0, 0.0)),
        ([[1.0, 2.0], [3.0, 4.0]], [[1.0, 3.0], [3.0, 4.0]], (2, 1, 2, 0.5)),
        ([{"a": 1, "b": 2.0}], [{"b": 2.5, "a": 1}], (1, 1, 1, 0.5)),
        ({"a": [1, 2], "b": [0.5, 0.5]}, {"b": [0.5, 1.5], "a": [1, 2]}, (2, 1, 2, 1.0)),
        ([], [], (0, 0, 0, 0.0)),
    ],
)
def test_rows_are_compared(stable: Any, shadow: Any, expected: Any) -> None:
    assert numbers(compared(stable, shadow)) == expected


@pytest.mark.parametrize(
    ("stable", "shadow"),
    [
        ([1], [1, 2]),
        ([1], [[1]]),
        ([[1]], [[1, 2]]),
        ([{"a": 1}], [{"b": 1}]),
        ([{"a": 1}], [[1]]),
        ({"a": [1]}, {"b": [1]}),
        ({"a": [1]}, [1]),
        ({"a": [1], "b": [1, 2]}, {"a": [1], "b": [1, 2]}),
        ({"a": 1}, {"a": 1}),
        ({}, {}),
        ("text", "text"),
        (None, None),
    ],
)
def test_other_shapes_are_incomparable(stable: Any, shadow: Any) -> None:
    with pytest.raises(Incomparable):
        compared(stable, shadow)


def outputs(*shape: int, name: str = "p", data: Any = ()) -> bytes:
    output = {"name": name, "datatype": "FP64", "shape": shape, "data": list(data)}
    return json.dumps({"model_name": "m", "outputs": [output]}).encode()


@pytest.mark.parametrize(
    ("stable", "shadow", "rows"),
    [
        (outputs(2, data=[1.0, 2.0]), outputs(2, data=[1.0, 3.0]), (2, 1, 2, 1.0)),
        (
            outputs(2, 2, data=[1.0, 2.0, 3.0, 4.0]),
            outputs(2, 2, data=[1.0, 2.0, 3.0, 4.5]),
            (2, 1, 2, 0.25),
        ),
        (outputs(1, 2, data=[[1.0, 2.0]]), outputs(1, 2, data=[[1.0, 2.0]]), (1, 0, 1, 0.0)),
        (outputs(3, 0), outputs(3, 0), (3, 0, 0, 0.0)),
    ],
)
def test_tensors_are_compared_by_row(stable: bytes, shadow: bytes, rows: Any) -> None:
    assert numbers(compare(stable, shadow)) == rows


@pytest.mark.parametrize(
    "shadow",
    [
        outputs(2, name="q", data=[1.0, 2.0]),
        outputs(1, data=[1.0]),
        outputs(3, data=[1.0, 2.0]),
        outputs(data=[1.0, 2.0]),
        outputs(-2, data=[1.0, 2.0]),
        b'{"outputs": [1]}',
        b'{"outputs": {}}',
        b'{"outputs": []}',
        b'{"outputs": [{"name": "p", "shape": [true], "data": [1.0]}]}',
    ],
)
def test_other_tensors_are_incomparable(shadow: bytes) -> None:
    with pytest.raises(Incomparable):
        compare(outputs(2, data=[1.0, 2.0]), shadow)


def test_the_first_difference_is_an_example() -> None:
    difference = compared([1, 2, 3], [1, 5, 6]).difference
    assert difference == comparison.Difference(1, 2, 5)


@pytest.mark.parametrize(
    "answer",
    [
        b'{"predictions": ' + b"[" * 500 + b"]" * 500 + b"}",
        b'{"predictions": [' + b"[]," * 500_000 + b"[]]}",
        b'{"predictions": ' + b"[" * 100_000 + b"]" * 100_000 + b"}",
        b'{"predictions": [NaN]}',
        b'{"predictions": [1e999]}',
        b"",
        b"\xff",
        b"[]",
    ],
    ids=["nested", "many lists", "deep", "NaN", "infinite", "empty", "no text", "list"],
)
def test_answers_that_would_cost_much_or_are_none_are_incomparable(answer: bytes) -> None:
    with pytest.raises(Incomparable):
        compare(answer, answer)


def test_errors_stay_finite() -> None:
    result = compared([[1e308, -1e308]], [[-1e308, 1e308]])
    assert math.isfinite(result.absolute_error)


@given(PREDICTIONS)
def test_an_answer_agrees_with_itself(predictions: Any) -> None:
    result = compared(predictions, predictions)
    assert (result.rows, result.disagreed) == (len(predictions), 0)
    assert (result.absolute_error, result.difference) == (0.0, None)


@given(PREDICTIONS, PREDICTIONS)
def test_counts_are_consistent(stable: Any, shadow: Any) -> None:
    try:
        result = compared(stable, shadow)
    except Incomparable:
        with pytest.raises(Incomparable):
            compared(shadow, stable)
        return
    assert 0 <= result.disagreed <= result.rows == len(stable) == len(shadow)
    assert 0 <= result.numeric_rows <= result.rows
    assert 0 <= result.absolute_error < math.inf
    assert (result.difference is None) == (result.disagreed == 0)
    reverse = compared(shadow, stable)
    assert (reverse.rows, reverse.numeric_rows) == (result.rows, result.numeric_rows)
    assert reverse.absolute_error == pytest.approx(result.absolute_error)


@given(st.lists(st.tuples(SCALARS, SCALARS), max_size=9))
def test_rows_count_one_by_one(pairs: list[tuple[Any, Any]]) -> None:
    stable, shadow = [pair[0] for pair in pairs], [pair[1] for pair in pairs]
    singles = [compared([expected], [actual]) for expected, actual in pairs]
    result = compared(stable, shadow)
    assert result.disagreed == sum(single.disagreed for single in singles)
    assert result.numeric_rows == sum(single.numeric_rows for single in singles)


@given(st.lists(st.tuples(NUMBERS, NUMBERS), min_size=1, max_size=5))
def test_columns_and_records_are_the_same_rows(pairs: list[tuple[Any, Any]]) -> None:
    stable = [{"a": expected} for expected, _ in pairs]
    shadow = [{"a": actual} for _, actual in pairs]
    by_records = compared(stable, shadow)
    columns = [{"a": [row["a"] for row in rows]} for rows in (stable, shadow)]
    assert numbers(compared(*columns)) == numbers(by_records)


@given(st.binary(max_size=200), st.binary(max_size=200))
def test_no_bytes_break_it(stable: bytes, shadow: bytes) -> None:
    for answer in (stable, b'{"predictions": [%s]}' % stable, b'{"outputs": [%s]}' % shadow):
        with suppress(Incomparable):
            compare(answer, shadow)
