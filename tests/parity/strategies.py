"""Requests that Hypothesis makes up: a model's own rows changed at random, and anything at all."""

from __future__ import annotations

from typing import Any

from hypothesis import strategies as st

from tests.parity.asgi import Request
from tests.parity.bodies import CELLS, CSV, PARQUET, as_json, columns_of, dumps, split
from tests.parity.models import Rows, Sample

TEXTS = st.text(st.characters(codec="utf-8"), max_size=20)
NUMBERS = st.one_of(
    st.integers(-5, 5), st.integers(-(2**70), 2**70), st.floats(), st.floats(-100, 100)
)
ODD = st.sampled_from([CELLS[name] for name in CELLS if name != "long string"])
SCALARS = st.one_of(st.none(), st.booleans(), NUMBERS, TEXTS)
ANYTHING = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXTS, inner, max_size=4),
    max_leaves=12,
)
MOMENTS = st.datetimes().map(lambda moment: moment.isoformat())

FORMS = ("dataframe_split", "dataframe_records", "instances", "inputs")


def requests(sample: Sample) -> st.SearchStrategy[Request]:
    """Requests for a model that takes such rows: about two thirds are near to good ones."""
    return st.one_of(tables(sample), tables(sample), anything(), raw(sample))


@st.composite
def tables(draw: st.DrawFn, sample: Sample) -> Request:
    """Good rows with some cells, columns and rows changed, in any form."""
    base = sample.rows or [{"x": 1.0}]
    rows: Rows = [dict(draw(st.sampled_from(base))) for _ in range(draw(st.integers(0, 5)))]
    for row in rows:
        for name in row:
            row[name] = draw(_cell_like(row[name]))
    if draw(st.integers(0, 4)) == 0:
        rows = _changed_columns(draw, rows, list(base[0]))
    form = draw(st.sampled_from(FORMS))
    body = {form: _in_form(draw, form, rows)}
    if draw(st.integers(0, 4)) == 0:
        body["params"] = draw(st.dictionaries(st.sampled_from([*sample.params, "x"]), ANYTHING))
    return as_json("made up, with rows", body)


def _cell_like(value: Any) -> st.SearchStrategy[Any]:
    alike: st.SearchStrategy[Any] = st.just(value)
    if isinstance(value, bool):
        alike = st.booleans()
    elif isinstance(value, float):
        alike = st.floats(allow_nan=False, allow_infinity=False) | st.floats(-10, 10)
    elif isinstance(value, int):
        alike = st.integers(-(2**31), 2**31)
    elif isinstance(value, str):
        alike = TEXTS | MOMENTS
    return st.integers(0, 19).flatmap(lambda n: ODD | SCALARS if n == 0 else alike | st.just(value))


def _changed_columns(draw: st.DrawFn, rows: Rows, names: list[str]) -> Rows:
    dropped = draw(st.sets(st.sampled_from(names), max_size=1))
    added = draw(st.dictionaries(TEXTS, SCALARS, max_size=2))
    order = draw(st.permutations(names))
    return [
        {**{n: row[n] for n in order if n in row and n not in dropped}, **added} for row in rows
    ]


def _in_form(draw: st.DrawFn, form: str, rows: Rows) -> Any:
    if form == "dataframe_split":
        return split(rows)
    if form == "dataframe_records":
        return rows
    values = [list(row.values()) for row in rows]
    return draw(st.sampled_from([rows, columns_of(rows), values, *rows[:1], *values[:1]]))


def anything() -> st.SearchStrategy[Request]:
    """Any JSON under fields that MLflow knows."""
    bodies = st.dictionaries(st.sampled_from([*FORMS, "params", "messages", "x"]), ANYTHING)
    return st.one_of(bodies, ANYTHING).map(lambda body: as_json("made up, any JSON", body))


@st.composite
def raw(draw: st.DrawFn, sample: Sample) -> Request:
    """Any bytes as any type of content, good JSON with a few bytes changed among them."""
    kind = draw(st.sampled_from(["application/json", "application/json", CSV, PARQUET]))
    if draw(st.booleans()):
        return Request("made up, any bytes", draw(st.binary() | TEXTS.map(str.encode)), kind)
    body = bytearray(dumps({"dataframe_records": sample.rows[:1]}))
    for place in draw(st.lists(st.integers(0, len(body) - 1), min_size=1, max_size=3)):
        body[place : place + 1] = draw(st.binary(max_size=2))
    return Request("made up, changed bytes", bytes(body), kind)
