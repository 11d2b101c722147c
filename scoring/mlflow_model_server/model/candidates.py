"""Models that take arrays as well as DataFrames, and answer the same. Tried out when they load."""

from __future__ import annotations

import contextlib
import copy
import logging
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from mlflow_model_server.model.input_schema import ColumnSchema, InputSchema, TensorSchema
from mlflow_model_server.model.library_code import (
    runs_known_code_only as runs_known_code_only,
)
from mlflow_model_server.model.predictions import to_lists

log = logging.getLogger(__name__)

Predict = Callable[[Any], Any]

# Their wrappers take an array as it is, if the signature is a tensor.
_TENSOR_FLAVORS = ("mlflow.sklearn", "mlflow.onnx", "mlflow.pytorch", "mlflow.tensorflow")
_PROBES = 3  # rows
_ROUNDING = 1e-9


@dataclass(frozen=True)
class DirectPredictor:
    """Predicts without what MLflow does around the model."""

    predict: Predict  # returns an array, or a dict of arrays
    accepts_dataframe: bool  # `predict` takes a DataFrame; else an array
    rows_independent: bool  # rows of several requests may be predicted together
    prepare_thread: Callable[[], None] = lambda: None  # called in each thread that predicts
    tolerance: float = _ROUNDING  # that floats may differ by
    is_onnx: bool = False  # by the converted model


def find_direct_predictor(
    model: Any, schema: InputSchema | None, loader: str
) -> DirectPredictor | None:
    """The fastest way to the same answers as `model` (a PyFuncModel) gives; None if there is none.

    `loader` is the flavor's module. Each candidate is tried with some rows, and used only if its
    answers are the model's own.
    """
    if schema is None:
        return None
    for candidate in _candidates(model, schema, loader):
        try:
            if matches_model(model, candidate, schema):
                return candidate
        except Exception as error:  # a model's code may raise anything
            log.debug("not %s: %s: %s", candidate, type(error).__name__, error)
    return None


def _candidates(model: Any, schema: InputSchema, loader: str) -> list[DirectPredictor]:
    if isinstance(schema, TensorSchema):
        if loader not in _TENSOR_FLAVORS:
            return []
        predict = model._predict_fn
        if loader == "mlflow.sklearn":
            return [DirectPredictor(predict, False, _is_pure_sklearn(model))]
        # Whether a network's rows are independent is seen only by trying.
        return [DirectPredictor(predict, False, True), DirectPredictor(predict, False, False)]
    if loader == "mlflow.sklearn":
        return _sklearn(model, schema)
    if loader in ("mlflow.xgboost", "mlflow.lightgbm") and schema.is_numeric:
        return [DirectPredictor(_boosted(model.get_raw_model()), False, True)]
    return []


def _sklearn(model: Any, schema: ColumnSchema) -> list[DirectPredictor]:
    estimator = model.get_raw_model()
    method = method_of(model)
    pure = _is_pure_sklearn(model)
    candidates = []
    if schema.is_numeric and pure:
        predict = getattr(_without_names(estimator), method)
        candidates.append(DirectPredictor(predict, False, True, _unchecked))
    candidates.append(DirectPredictor(getattr(estimator, method), True, pure))
    return candidates


def method_of(model: Any) -> str:
    """The estimator's method that MLflow calls."""
    flavor = model.metadata.flavors["python_function"]
    return str(flavor.get("predict_fn", "predict"))


def _is_pure_sklearn(model: Any) -> bool:
    """Whether all estimators in it are scikit-learn's own, which treat each row by itself."""
    return all(
        type(part).__module__.startswith("sklearn.")
        and "FunctionTransformer" not in type(part).__name__
        for part in estimators(model.get_raw_model())
    )


def estimators(estimator: Any) -> list[Any]:
    """An estimator and all that are in it."""
    inside = [estimator]
    for value in vars(estimator).values() if hasattr(estimator, "__dict__") else ():
        for inner in _flat(value):
            if hasattr(inner, "get_params") and not isinstance(inner, type):
                inside += estimators(inner)
    return inside


def _flat(value: Any) -> list[Any]:
    if isinstance(value, (list, tuple)) and len(value) < 100:
        return [inner for item in value for inner in _flat(item)]
    return [value]


def _without_names(estimator: Any) -> Any:
    """A copy that has forgotten its columns' names, and so does not warn that an array has none."""
    nameless = copy.copy(estimator)
    if hasattr(nameless, "feature_names_in_"):
        with contextlib.suppress(AttributeError):  # a pipeline's names are its first step's
            del nameless.feature_names_in_
    if getattr(nameless, "steps", None):
        (name, first), *others = nameless.steps
        nameless.steps = [(name, _without_names(first)), *others]
    return nameless


def _unchecked() -> None:
    """Of this thread's arrays scikit-learn need not see that they are finite: the schema has."""
    import sklearn

    sklearn.set_config(assume_finite=True, skip_parameter_validation=True)


def _boosted(raw: Any) -> Predict:
    if type(raw).__module__.startswith("xgboost") and hasattr(raw, "inplace_predict"):
        return lambda rows: raw.inplace_predict(rows, validate_features=False)
    predict: Predict = raw.predict
    return predict


def matches_model(model: Any, candidate: DirectPredictor, schema: InputSchema) -> bool:
    """Whether some rows, together and one by one, give what MLflow's way gives."""
    rows = _probe(model, schema)
    whole = candidate.predict(input_of(rows, candidate.accepts_dataframe, schema))
    to_lists(whole)  # else each request would be predicted in vain first
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        reference = as_text(model.predict(input_of(rows, True, schema)))
    if not _equal(reference, whole, candidate.tolerance):
        return False
    if not candidate.rows_independent:
        return True
    single_rows = [rows[i : i + 1] for i in range(len(rows))]
    alone = [
        candidate.predict(input_of(row, candidate.accepts_dataframe, schema)) for row in single_rows
    ]
    return _equal(_stacked(alone), whole, candidate.tolerance)


def _stacked(parts: list[Any]) -> Any:
    if isinstance(parts[0], dict):
        return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
    return np.concatenate(parts)


def input_of(rows: Any, as_frame: bool, schema: InputSchema) -> Any:
    """Rows as a DataFrame or an array; a tensor as it is. May raise FallbackRequired."""
    if isinstance(schema, TensorSchema):
        return rows
    return schema.frame(rows) if as_frame else schema.array(rows)


def _probe(model: Any, schema: InputSchema) -> Any:
    """Rows to try: the model's own example if it has one that fits, else made-up ones."""
    if isinstance(schema, TensorSchema):
        shape = [_PROBES if place == 0 else abs(n) for place, n in enumerate(schema.shape)]
        return _made_up(shape).astype(schema.dtype)
    example: Any = getattr(model, "input_example", None)
    if hasattr(example, "columns") and tuple(example.columns) == schema.names:
        return example.head(_PROBES).to_numpy(dtype=object).tolist()
    numbers = _made_up([_PROBES, len(schema.names)])
    return [
        [_value(number, dtype) for number, dtype in zip(row, schema.dtypes, strict=True)]
        for row in numbers
    ]


def _made_up(shape: list[int]) -> Any:
    return np.random.default_rng(0).normal(scale=2.0, size=shape)


def _value(number: float, dtype: np.dtype[Any]) -> Any:
    if dtype.kind == "O":
        return f"word {number:.1f}"
    return number > 0 if dtype.kind == "b" else int(number) if dtype.kind == "i" else float(number)


def as_text(answer: Any) -> Any:
    """An array of Python's strings as one of numpy's; anything else as it is."""
    if (
        type(answer) is np.ndarray
        and answer.dtype.kind == "O"
        and all(type(item) is str for item in answer.flat)
    ):
        return answer.astype(str)
    return answer


def _equal(expected: Any, actual: Any, tolerance: float) -> bool:
    if isinstance(expected, dict):
        return (
            isinstance(actual, dict)
            and expected.keys() == actual.keys()
            and all(_equal(expected[name], actual[name], tolerance) for name in expected)
        )
    if type(expected) is not np.ndarray or type(actual) is not np.ndarray:
        return False
    if expected.shape != actual.shape:
        return False
    if expected.dtype != actual.dtype and not expected.dtype.kind == actual.dtype.kind == "U":
        return False
    if expected.dtype.kind == "f":
        tolerance = max(tolerance, 4 * np.finfo(expected.dtype).eps)
        return bool(np.allclose(expected, actual, rtol=tolerance, atol=tolerance, equal_nan=True))
    return bool((expected == actual).all())
