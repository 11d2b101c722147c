"""Whether predictions fit the outputs of a signature."""

from __future__ import annotations

import io
import json
from typing import Any

import numpy as np
import pandas as pd
import pytest
from mlflow.models import infer_signature
from mlflow.pyfunc.scoring_server import predictions_to_json

from mlflow_model_server.model.output_schema import MAX_ROWS, mismatch

LONG: list[dict[str, Any]] = [{"type": "long", "required": True}]
NAMED: list[dict[str, Any]] = [
    {"type": "double", "name": "price", "required": True},
    {"type": "string", "name": "grade", "required": True},
    {"type": "long", "name": "rank", "required": False},
]
TENSOR: list[dict[str, Any]] = [
    {"type": "tensor", "tensor-spec": {"dtype": "float32", "shape": [-1, 3]}}
]


@pytest.mark.parametrize(
    "output",
    [
        np.array([1, 2]),
        np.array([[0.1, 0.9], [0.2, 0.8]]),
        np.array([True, False]),
        np.array(["red", "white"]),
        pd.Series([1.5, 2.5], name="price"),
        pd.Series([1, 2]),
        pd.DataFrame({"price": [1.5, None], "grade": ["a", "b"]}),
        pd.DataFrame([[1, 2], [3, 4]]),
        pd.DataFrame({"at": pd.to_datetime(["2026-01-01", "2026-01-02"])}),
        {"a": np.array([1.0, 2.0]), "b": np.array([[1], [2]])},
        ["some", "text"],
        [{"label": "red", "scores": [0.1, 0.2]}],
        "a text",
    ],
    ids=lambda output: type(output).__name__,
)
def test_what_a_signature_was_inferred_from_fits_it(output: Any) -> None:
    outputs = infer_signature(np.array([[1.0]]), output).outputs.to_dict()
    table = output.to_frame() if isinstance(output, pd.Series) and output.name else output
    for shown in (output, table):
        assert mismatch(outputs, as_json(shown)) is None


def as_json(output: Any) -> Any:
    """As MLflow's server writes it."""
    written = io.StringIO()
    predictions_to_json(output, written)
    return json.loads(written.getvalue())["predictions"]


@pytest.mark.parametrize(
    ("outputs", "predictions", "problem"),
    [
        (LONG, [1, 2.5], "the output is a number, and the signature says long"),
        (LONG, [True], "the output is a boolean, and the signature says long"),
        (LONG, [None], "the output is null, and the signature says long"),
        (LONG, ["secret"], "the output is a string, and the signature says long"),
        (NAMED, [{"price": 1.0}], "the output 'grade' is missing"),
        (NAMED, [{"price": "1", "grade": "a"}], "the output 'price' is a string, and"),
        (NAMED, [{"price": 1, "grade": "a", "rank": 1.5}], "the output 'rank' is a number, and"),
        (NAMED, [3], "a prediction is a whole number, and the signature has 3 outputs"),
        (TENSOR, [[1, 2]], "the output has the shape [1, 2], and the signature says [-1, 3]"),
        (TENSOR, [[1, 2, "x"]], "the output has a string, and the signature says float32"),
        (TENSOR, {"a": 1}, "the output '0' is missing"),
    ],
)
def test_what_does_not_fit_is_named_and_not_repeated(
    outputs: list[dict[str, Any]], predictions: Any, problem: str
) -> None:
    found = mismatch(outputs, predictions)
    assert found is not None
    assert found.startswith(problem)
    assert "secret" not in found


def test_several_forms_fit() -> None:
    assert mismatch(LONG, 3) is None
    assert mismatch(LONG, [[3], [4]]) is None
    assert mismatch([{"type": "double", "name": "price"}], [1.5, 2]) is None
    assert mismatch(NAMED, [{"price": None, "grade": "a", "more": [1]}]) is None
    assert mismatch(NAMED, [[1.5, "a", 1]]) is None
    assert mismatch(TENSOR, [[1, 2.5, None]]) is None
    assert mismatch(TENSOR, []) is None
    assert mismatch([{"type": "something new"}], [{}]) is None


def test_a_long_output_is_not_looked_at_to_its_end() -> None:
    assert mismatch(LONG, [1] * MAX_ROWS + ["x"]) is None
