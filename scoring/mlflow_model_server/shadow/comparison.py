"""Compares the predictions of two answers to the same request, row by row. Pure.

Of MLflow's protocol: `predictions` as a list of scalars, of lists or of objects, or as an object of
lists; of the Open Inference Protocol: the `outputs`, each with a `shape` and `data`. Numbers
disagree if they differ by more than a tolerance, unless both are integers: those are classes, as
are text, booleans and null, and disagree if they are not equal. Answers whose rows, columns or
nesting differ can't be compared.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import orjson

ABSOLUTE_TOLERANCE = 1e-6
RELATIVE_TOLERANCE = 1e-3  # of the stable version's number
MAX_DEPTH = 32  # of lists and objects in a row
MAX_ERROR = 1e100  # of a row: sums of such errors are still finite
# What two answers may become when they are parsed, estimated by their structure.
MAX_MEMORY = 64 * 2**20
_PER_CONTAINER = 128
_PER_VALUE = 48


class Incomparable(ValueError):
    """Two answers have no rows that correspond to each other."""


@dataclass(frozen=True)
class Difference:
    """The first row in which two answers disagree."""

    row: int
    stable: Any
    shadow: Any


@dataclass(frozen=True)
class Comparison:
    """How far two answers agree."""

    rows: int = 0
    disagreed: int = 0
    numeric_rows: int = 0  # that have numbers which are not both integers
    absolute_error: float = 0.0  # of all numeric rows; of each, the mean over its numbers
    difference: Difference | None = None


def compare(stable: bytes, shadow: bytes) -> Comparison:
    """Compares the bodies of two answers. Raises Incomparable."""
    if _memory(stable) + _memory(shadow) > MAX_MEMORY:
        raise Incomparable
    rows = disagreed = numeric_rows = 0
    absolute_error, difference = 0.0, None
    for expected, actual in _pairs(_predictions(stable), _predictions(shadow)):
        row = _Row()
        row.add(expected, actual)
        if row.disagrees:
            disagreed += 1
            difference = difference or Difference(rows, expected, actual)
        if row.numbers:
            numeric_rows += 1
            absolute_error += min(row.error / row.numbers, MAX_ERROR)
        rows += 1
    return Comparison(rows, disagreed, numeric_rows, absolute_error, difference)


def _memory(answer: bytes) -> int:
    containers = answer.count(b"[") + answer.count(b"{")
    return len(answer) + containers * _PER_CONTAINER + answer.count(b",") * _PER_VALUE


def _predictions(answer: bytes) -> Any:
    try:
        document = orjson.loads(answer)
    except orjson.JSONDecodeError:
        raise Incomparable from None
    if not isinstance(document, dict):
        raise Incomparable
    if "predictions" in document:
        return document["predictions"]
    outputs = document.get("outputs")
    if not isinstance(outputs, list):
        raise Incomparable
    return dict(map(_output, outputs))


def _output(output: Any) -> tuple[str, list[Any]]:
    """The name and the rows of an output of the Open Inference Protocol."""
    if not isinstance(output, dict):
        raise Incomparable
    name, data = output.get("name"), output.get("data")
    if not isinstance(name, str) or not isinstance(data, list):
        raise Incomparable
    count, *others = _shape(output.get("shape"))
    size = math.prod(others)
    if len(data) == count:
        return name, data
    if len(data) != count * size:
        raise Incomparable
    return name, [data[row * size : (row + 1) * size] for row in range(count)]


def _shape(shape: Any) -> list[int]:
    is_shape = isinstance(shape, list) and 0 < len(shape) <= MAX_DEPTH
    if not is_shape or not all(type(size) is int and size >= 0 for size in shape):
        raise Incomparable
    return list(shape)


def _pairs(stable: Any, shadow: Any) -> Iterator[tuple[Any, Any]]:
    """The rows of both. Raises Incomparable where they do not correspond."""
    if isinstance(stable, dict) and isinstance(shadow, dict):
        if stable.keys() != shadow.keys():
            raise Incomparable
        names = sorted(stable)
        return _rows(_columns(stable, names), _columns(shadow, names))
    return _rows(stable, shadow)


def _rows(stable: Any, shadow: Any) -> Iterator[tuple[Any, Any]]:
    is_comparable = isinstance(stable, list) and isinstance(shadow, list)
    if not is_comparable or len(stable) != len(shadow):
        raise Incomparable
    return zip(stable, shadow, strict=True)


def _columns(predictions: dict[str, Any], names: Iterable[str]) -> list[list[Any]]:
    columns = [predictions[name] for name in names]
    if not all(isinstance(column, list) for column in columns):
        raise Incomparable
    if len({len(column) for column in columns}) != 1:
        raise Incomparable
    return list(map(list, zip(*columns, strict=True)))


class _Row:
    """Two rows that correspond to each actual."""

    __slots__ = ("disagrees", "error", "numbers")

    def __init__(self) -> None:
        self.disagrees = False
        self.numbers = 0
        self.error = 0.0

    def add(self, expected: Any, actual: Any, depth: int = 0) -> None:
        """Compares two values. Raises Incomparable where their structures differ."""
        if isinstance(expected, list | dict) or isinstance(actual, list | dict):
            if type(expected) is not type(actual) or depth == MAX_DEPTH:
                raise Incomparable
            for each in _pairs_of_values(expected, actual):
                self.add(*each, depth + 1)
        elif _are_numbers(expected, actual):
            difference = abs(float(expected) - float(actual))
            self.numbers += 1
            self.error = min(self.error + difference, MAX_ERROR)
            if difference > ABSOLUTE_TOLERANCE + RELATIVE_TOLERANCE * abs(expected):
                self.disagrees = True
        elif type(expected) is not type(actual) or expected != actual:  # in Python, True is 1
            self.disagrees = True


def _pairs_of_values(expected: Any, actual: Any) -> Iterator[tuple[Any, Any]]:
    if isinstance(expected, list):
        return _rows(expected, actual)
    if expected.keys() != actual.keys():
        raise Incomparable
    return ((expected[name], actual[name]) for name in expected)


def _are_numbers(expected: Any, actual: Any) -> bool:
    """Whether both are numbers that are not classes."""
    kinds = {type(expected), type(actual)}
    return float in kinds and kinds <= {int, float}
