"""Finds a way to convert the model so that it answers as before. For the process that converts."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mlflow_model_server.model import candidates
from mlflow_model_server.model.input_schema import Plan, TensorPlan, Unsure, plan_of
from mlflow_model_server.model.loading import load_model
from mlflow_model_server.onnx import compare, result, samples, trees
from mlflow_model_server.onnx.result import COLUMNS, TABLE, Converted, Note, unconverted
from mlflow_model_server.onnx.session import Session
from mlflow_model_server.runtime.termination import bounded
from mlflow_model_server.settings import Settings

# Which of skl2onnx' outputs is what a method answers: first labels or values, then probabilities.
_OUTPUTS = {"predict": 0, "predict_proba": 1}
# What a word is for scikit-learn unless it is told; ONNX Runtime knows it by another name.
_SKLEARN_WORD = r"(?u)\b\w\w+\b"
_ONNX_WORD = r"[\p{L}\p{N}_]{2,}"
# Of numbers so many times as large as any that was tried, rounding may leave something else.
_FARTHEST = 1000


@dataclass(frozen=True)
class Asked:
    """Rows, and what the model answers to them."""

    what: str
    rows: Any
    answer: NDArray[Any]


class NotAlike(Exception):
    """The converted model answers otherwise; the message says where."""


def converted(settings: Settings) -> Note:
    """Converts the prepared model, and leaves it beside the note that this returns."""
    model = load_model(settings)
    plan = plan_of(model.metadata.signature)
    if plan is None:
        return unconverted(result.NO_SIGNATURE, "its signature has more than plain columns")
    example = samples.example_rows(model, plan)
    if example is None:
        return unconverted(
            result.NO_EXAMPLE, "its input example has no row that fits the signature"
        )
    try:
        asked = list(_ask(model, plan, example))
    except Exception as error:  # a model may raise anything
        return unconverted(result.NO_EXAMPLE, f"it fails on its example: {_told(error)}")
    if candidates.method_of(model) not in _OUTPUTS or asked[0].answer.dtype.kind not in "biufU":
        return unconverted(result.NOT_CONVERTIBLE, "ONNX has no answers of that kind")
    return _search(settings, model, plan, asked)


def _ask(model: Any, plan: Plan, example: Any) -> Iterator[Asked]:
    """The model's answers to all rows of its example, and to those made up that it takes."""
    yield _asked("of its example", model, plan, example)
    for what, more in samples.made_up(example, plan).items():
        # It may refuse these, or have no finite answer to them.
        with contextlib.suppress(Exception):
            yield _asked(what, model, plan, more)


def _asked(what: str, model: Any, plan: Plan, some: Any) -> Asked:
    """Raises what the model raises, and ValueError where no row has an answer that is finite."""
    answer = _answer(model, plan, some)
    good = compare.finite_rows(answer)
    if not len(good):
        raise ValueError("no answer is a finite number")
    return Asked(what, samples.some_of(some, good), answer[good])


def _answer(model: Any, plan: Plan, some: Any) -> NDArray[Any]:
    answer = candidates.as_text(model.predict(candidates.input_of(some, True, plan)))
    if not isinstance(answer, np.ndarray) or len(answer) != len(some):
        raise TypeError(f"it answers with a {type(answer).__name__}, not an array")
    return answer


def _search(settings: Settings, model: Any, plan: Plan, asked: list[Asked]) -> Note:
    found = unconverted(result.NOT_CONVERTIBLE, "")
    for dtype in ("float64", "float32"):
        try:
            made = _convert(model, plan, dtype)
            return _kept(settings, made, _how(made, model, plan, dtype, asked), plan, asked)
        except NotAlike as difference:
            found = unconverted(result.ANSWERS_DIFFER, str(difference))
        except MemoryError:
            raise  # of this it can't be told what it would do with more
        except Exception as error:  # what they can't do, these libraries say in many ways
            if found.reason != result.ANSWERS_DIFFER:
                found = unconverted(result.NOT_CONVERTIBLE, _told(error))
    return found


def _convert(model: Any, plan: Plan, dtype: str) -> Any:
    """The model as ONNX; raises whatever skl2onnx raises."""
    from skl2onnx import convert_sklearn
    from sklearn.base import is_classifier

    estimator = model.get_raw_model()
    inside = candidates.estimators(estimator)
    options: dict[int, dict[str, Any]] = {
        id(one): {"tokenexp": _ONNX_WORD, "locale": "C.UTF-8"}
        for one in inside
        if getattr(one, "token_pattern", None) == _SKLEARN_WORD
    }
    if is_classifier(estimator):
        options[id(estimator)] = {"zipmap": False}  # probabilities as an array, not as dicts
    made = convert_sklearn(
        estimator, initial_types=_inputs(model, plan, dtype), options=options or None
    )
    if dtype == "float64" and not any(map(_compares_doubles, inside)):
        trees.compare_as_float32(made)
    return made


def _compares_doubles(estimator: Any) -> bool:
    """Whether it is of those trees that don't make float32 of what they get."""
    return type(estimator).__name__.startswith("HistGradientBoosting")


def _layout(model: Any, plan: Plan) -> str:
    """A ColumnTransformer chooses among inputs by their names, and an input has one type."""
    if isinstance(plan, TensorPlan):
        return TABLE
    chooses = any(
        hasattr(one, "transformers") for one in candidates.estimators(model.get_raw_model())
    )
    mixed = len({dtype.kind == "O" for dtype in plan.dtypes}) > 1
    return COLUMNS if chooses or mixed else TABLE


def _inputs(model: Any, plan: Plan, dtype: str) -> list[tuple[str, Any]]:
    from skl2onnx.common import data_types

    number = {
        "float64": data_types.DoubleTensorType,
        "float32": data_types.FloatTensorType,
    }[dtype]
    if isinstance(plan, TensorPlan):
        return [("X", number([None, *(None if n < 0 else n for n in plan.shape[1:])]))]
    types = [data_types.StringTensorType if one.kind == "O" else number for one in plan.dtypes]
    if _layout(model, plan) == TABLE:
        return [("X", types[0]([None, len(types)]))]
    return [(name, one([None, 1])) for name, one in zip(plan.names, types, strict=True)]


def _how(made: Any, model: Any, plan: Plan, dtype: str, asked: list[Asked]) -> Converted:
    answer = asked[0].answer
    return Converted(
        layout=_layout(model, plan),
        dtype=dtype,
        output=made.graph.output[_OUTPUTS[candidates.method_of(model)]].name,
        answer_shape=answer.shape[1:],
        answer_dtype="str" if answer.dtype.kind == "U" else str(answer.dtype),
        tolerance=compare.TOLERANCES[0],
        most=tuple(_FARTHEST * largest for largest in samples.largest([one.rows for one in asked])),
    )


def _kept(settings: Settings, made: Any, how: Converted, plan: Plan, asked: list[Asked]) -> Note:
    """Writes the converted model; raises NotAlike, or what ONNX Runtime raises at it."""
    content = made.SerializeToString()
    session = Session(content, how)
    tolerance = max(_tolerance(session, plan, one) for one in asked)
    (settings.converted / result.MODEL).write_bytes(content)
    count = sum(len(one.rows) for one in asked)
    message = (
        f"in {how.dtype} it answers {count} rows, {len(asked[0].rows)} of them of the input "
        f"example, as the model does, floats by {tolerance:g}"
    )
    return Note(replace(how, tolerance=tolerance), message=message)


def _tolerance(session: Session, plan: Plan, asked: Asked) -> float:
    try:
        answer = session.predict(candidates.input_of(asked.rows, False, plan))
    except Unsure:
        raise NotAlike(f"some rows {asked.what} have no finite answer then") from None
    tolerance = compare.tolerance_of(asked.answer, answer)
    if tolerance is None:
        wrong = compare.different_rows(asked.answer, answer)
        raise NotAlike(f"{wrong} of {len(asked.rows)} rows {asked.what} are answered otherwise")
    return tolerance


def _told(error: Exception) -> str:
    """These libraries say first what is wrong, then at length what could be done."""
    first = str(error).strip().partition("\n")[0]
    return bounded(f"{type(error).__name__}: {first}")
