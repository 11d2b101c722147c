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

from mlflow_model_server.model.input_schema import ColumnPlan, Plan, TensorPlan
from mlflow_model_server.model.predictions import plain

log = logging.getLogger(__name__)

Predict = Callable[[Any], Any]

# Their wrappers take an array as it is, if the signature is a tensor.
_TENSOR_FLAVORS = ("mlflow.sklearn", "mlflow.onnx", "mlflow.pytorch", "mlflow.tensorflow")
_PROBES = 3  # rows
_ROUNDING = 1e-9


@dataclass(frozen=True)
class Direct:
    """A way to predict that leaves out what MLflow does around the model."""

    predict: Predict  # takes what `takes_frame` says, gives arrays, or a dict of arrays
    takes_frame: bool  # a DataFrame; else an array
    independent: bool  # rows of several requests may be predicted together
    prepare_thread: Callable[[], None] = lambda: None  # to be called in each thread that predicts
    tolerance: float = _ROUNDING  # that floats may differ by
    is_onnx: bool = False  # by the converted model


def direct(model: Any, plan: Plan | None, loader: str) -> Direct | None:
    """The quickest way that answers as `model` (a PyFuncModel) does; None: there is none.

    `loader` is the flavor's module. Each way is tried with some rows, and taken only if it gives
    what the model itself gives.
    """
    if plan is None:
        return None
    for candidate in _candidates(model, plan, loader):
        try:
            if answers_alike(model, candidate, plan):
                return candidate
        except Exception as error:  # a model's code may raise anything
            log.debug("not %s: %s: %s", candidate, type(error).__name__, error)
    return None


def _candidates(model: Any, plan: Plan, loader: str) -> list[Direct]:
    if isinstance(plan, TensorPlan):
        if loader not in _TENSOR_FLAVORS:
            return []
        predict = model._predict_fn
        if loader == "mlflow.sklearn":
            return [Direct(predict, False, _pure(model))]
        # Whether a network's rows are independent is seen only by trying.
        return [Direct(predict, False, True), Direct(predict, False, False)]
    if loader == "mlflow.sklearn":
        return _sklearn(model, plan)
    if loader in ("mlflow.xgboost", "mlflow.lightgbm") and plan.is_numeric:
        return [Direct(_boosted(model.get_raw_model()), False, True)]
    return []


def _sklearn(model: Any, plan: ColumnPlan) -> list[Direct]:
    estimator = model.get_raw_model()
    method = method_of(model)
    pure = _pure(model)
    found = []
    if plan.is_numeric and pure:
        predict = getattr(_without_names(estimator), method)
        found.append(Direct(predict, False, True, _unchecked))
    found.append(Direct(getattr(estimator, method), True, pure))
    return found


def method_of(model: Any) -> str:
    """The estimator's method that MLflow calls."""
    flavor = model.metadata.flavors["python_function"]
    return str(flavor.get("predict_fn", "predict"))


def _pure(model: Any) -> bool:
    """Whether all estimators in it are scikit-learn's own, which treat each row by itself."""
    return all(
        type(one).__module__.startswith("sklearn.")
        and "FunctionTransformer" not in type(one).__name__
        for one in estimators(model.get_raw_model())
    )


def estimators(estimator: Any) -> list[Any]:
    """An estimator and all that are in it."""
    found = [estimator]
    for value in vars(estimator).values() if hasattr(estimator, "__dict__") else ():
        for inner in _flat(value):
            if hasattr(inner, "get_params") and not isinstance(inner, type):
                found += estimators(inner)
    return found


def _flat(value: Any) -> list[Any]:
    if isinstance(value, (list, tuple)) and len(value) < 100:
        return [inner for one in value for inner in _flat(one)]
    return [value]


def _without_names(estimator: Any) -> Any:
    """A copy that has forgotten its columns' names, and so does not warn that an array has none."""
    found = copy.copy(estimator)
    if hasattr(found, "feature_names_in_"):
        with contextlib.suppress(AttributeError):  # a pipeline's names are its first step's
            del found.feature_names_in_
    if getattr(found, "steps", None):
        (name, first), *others = found.steps
        found.steps = [(name, _without_names(first)), *others]
    return found


def _unchecked() -> None:
    """Of this thread's arrays scikit-learn need not see that they are finite: the plan has."""
    import sklearn

    sklearn.set_config(assume_finite=True, skip_parameter_validation=True)


def _boosted(raw: Any) -> Predict:
    if type(raw).__module__.startswith("xgboost") and hasattr(raw, "inplace_predict"):
        return lambda rows: raw.inplace_predict(rows, validate_features=False)
    predict: Predict = raw.predict
    return predict


def answers_alike(model: Any, candidate: Direct, plan: Plan) -> bool:
    """Whether some rows, together and one by one, give what MLflow's way gives."""
    rows = _probe(model, plan)
    whole = candidate.predict(input_of(rows, candidate.takes_frame, plan))
    plain(whole)  # else each request would be predicted in vain first
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        reference = as_text(model.predict(input_of(rows, True, plan)))
    if not _equal(reference, whole, candidate.tolerance):
        return False
    if not candidate.independent:
        return True
    ones = [rows[i : i + 1] for i in range(len(rows))]
    alone = [candidate.predict(input_of(one, candidate.takes_frame, plan)) for one in ones]
    return _equal(_stacked(alone), whole, candidate.tolerance)


def _stacked(parts: list[Any]) -> Any:
    if isinstance(parts[0], dict):
        return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
    return np.concatenate(parts)


def input_of(rows: Any, as_frame: bool, plan: Plan) -> Any:
    """Rows as a DataFrame or an array; a tensor as it is. Raises Unsure as the plan does."""
    if isinstance(plan, TensorPlan):
        return rows
    return plan.frame(rows) if as_frame else plan.array(rows)


def _probe(model: Any, plan: Plan) -> Any:
    """Rows to try: the model's own example if it has one that fits, else made-up ones."""
    if isinstance(plan, TensorPlan):
        shape = [_PROBES if place == 0 else abs(n) for place, n in enumerate(plan.shape)]
        return _made_up(shape).astype(plan.dtype)
    example: Any = getattr(model, "input_example", None)
    if hasattr(example, "columns") and tuple(example.columns) == plan.names:
        return example.head(_PROBES).to_numpy(dtype=object).tolist()
    numbers = _made_up([_PROBES, len(plan.names)])
    return [
        [_value(number, dtype) for number, dtype in zip(row, plan.dtypes, strict=True)]
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
        and all(type(one) is str for one in answer.flat)
    ):
        return answer.astype(str)
    return answer


def _equal(one: Any, other: Any, tolerance: float) -> bool:
    if isinstance(one, dict):
        return (
            isinstance(other, dict)
            and one.keys() == other.keys()
            and all(_equal(one[name], other[name], tolerance) for name in one)
        )
    if type(one) is not np.ndarray or type(other) is not np.ndarray:
        return False
    if one.shape != other.shape:
        return False
    if one.dtype != other.dtype and not one.dtype.kind == other.dtype.kind == "U":
        return False
    if one.dtype.kind == "f":
        most = max(tolerance, 4 * np.finfo(one.dtype).eps)
        return bool(np.allclose(one, other, rtol=most, atol=most, equal_nan=True))
    return bool((one == other).all())
