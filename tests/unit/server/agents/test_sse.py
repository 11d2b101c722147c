"""Events, and what models may yield in them."""

from __future__ import annotations

import dataclasses
import datetime
import json
from typing import Any

import numpy as np
import pydantic
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlflow_model_server.agents import sse


@given(st.text())
def test_an_event_is_one_line(text: str) -> None:
    event = sse.event({"text": text}, "named").decode()
    name, data, *end = event.splitlines()
    assert (name, end) == ("event: named", [""])
    assert json.loads(data.removeprefix("data: ")) == {"text": text}


class Model(pydantic.BaseModel):
    value: int
    nothing: int | None = None


@dataclasses.dataclass
class Data:
    value: int


@pytest.mark.parametrize(
    ("value", "written"),
    [
        ("text", '"text"'),
        (Model(value=1), '{"value":1}'),
        ([Data(1)], '[{"value":1}]'),
        (np.float32(0.5), "0.5"),
        (np.array([[1, 2]]), "[[1,2]]"),
        ({1: datetime.date(2026, 1, 31)}, '{"1":"2026-01-31"}'),
        (float("nan"), "null"),
        (2**70, str(2**70)),
    ],
)
def test_what_models_yield(value: Any, written: str) -> None:
    assert sse.to_json(value).decode() == written


def test_what_json_can_not_say_is_an_error() -> None:
    with pytest.raises(TypeError, match="object can't be represented as JSON"):
        sse.to_json({"value": object()})
