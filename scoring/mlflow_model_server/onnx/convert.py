"""Finds a way to convert the model so that it answers as before. For the process that converts."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mlflow_model_server.model import candidates
from mlflow_model_server.model.input_schema import (
    FallbackRequired,
    InputSchema,
    TensorSchema,
    input_schema_of,
)
from mlflow_model_server.model.loading import load_model
from mlflow_model_server.onnx import compare, result, samples, trees
from mlflow_model_server.onnx.result import COLUMNS, TABLE, Conversion, OnnxSpec, not_converted
from mlflow_model_server.onnx.session import Session
from mlflow_model_server.runtime.termination import bounded
from mlflow_model_server.settings import Settings

# Which of skl2onnx' outputs is what a method answers: first labels or values, then probabilities.
_OUTPUTS = {"predict": 0, "predict_proba": 1}
# scikit-learn's default pattern of a word, and the same in ONNX Runtime's syntax.
_SKLEARN_WORD = r"(?u)\b\w\w+\b"
_ONNX_WORD = r"[\p{L}\p{N}_]{2,}"
# Of numbers so many times as large as any that was tried, rounding may leave something else.
_FARTHEST = 1000


@dataclass(frozen=True)
class Sample:
    """Rows, and what the model answers to them."""

    kind: str
    rows: Any
    answer: NDArray[Any]


class NotAlike(Exception):
    """The converted model answers otherwise; the message says where."""


def convert_prepared(settings: Settings) -> Conversion:
    """Converts the prepared model, and leaves it beside the note that this returns."""
    model = load_model(settings)
    schema = input_schema_of(model.metadata.signature)
    if schema is None:
        return not_converted(
            result.NO_SIGNATURE, "its signature does not consist of plain columns only"
        )
    example = samples.example_rows(model, schema)
    if example is None:
        return not_converted(
            result.NO_EXAMPLE, "its input example has no row that fits the signature"
        )
    try:
        answers = list(_sample_all(model, schema, example))
    except Exception as error:  # a model may raise anything
        return not_converted(result.NO_EXAMPLE, f"it fails on its input example: {_summary(error)}")
    if candidates.method_of(model) not in _OUTPUTS or answers[0].answer.dtype.kind not in "biufU":
        return not_converted(result.NOT_CONVERTIBLE, "ONNX has no predictions of that kind")
    return _search(settings, model, schema, answers)


def _sample_all(model: Any, schema: InputSchema, example: Any) -> Iterator[Sample]:
    """The model's answers to all rows of its example, and to those made up that it takes."""
    yield _sample("of its example", model, schema, example)
    for kind, more in samples.made_up(example, schema).items():
        # It may refuse these, or have no finite answer to them.
        with contextlib.suppress(Exception):
            yield _sample(kind, model, schema, more)


def _sample(kind: str, model: Any, schema: InputSchema, some: Any) -> Sample:
    """Raises what the model raises, and ValueError where no row has an answer that is finite."""
    answer = _answer(model, schema, some)
    good = compare.finite_rows(answer)
    if not len(good):
        raise ValueError("no prediction is a finite number")
    return Sample(kind, samples.some_of(some, good), answer[good])


def _answer(model: Any, schema: InputSchema, some: Any) -> NDArray[Any]:
    answer = candidates.as_text(model.predict(candidates.input_of(some, True, schema)))
    if not isinstance(answer, np.ndarray) or len(answer) != len(some):
        raise TypeError(f"it returns a {type(answer).__name__}, not an array")
    return answer


def _search(
    settings: Settings, model: Any, schema: InputSchema, answers: list[Sample]
) -> Conversion:
    outcome = not_converted(result.NOT_CONVERTIBLE, "")
    for dtype in ("float64", "float32"):
        try:
            onnx_model = _convert(model, schema, dtype)
            spec = _spec_of(onnx_model, model, schema, dtype, answers)
            return _write_if_alike(settings, onnx_model, spec, schema, answers)
        except NotAlike as difference:
            outcome = not_converted(result.ANSWERS_DIFFER, str(difference))
        except MemoryError:
            raise  # with more memory it may succeed
        except Exception as error:  # these libraries raise all sorts of errors
            if outcome.reason != result.ANSWERS_DIFFER:
                outcome = not_converted(result.NOT_CONVERTIBLE, _summary(error))
    return outcome


def _convert(model: Any, schema: InputSchema, dtype: str) -> Any:
    """The model as ONNX; raises whatever skl2onnx raises."""
    from skl2onnx import convert_sklearn
    from sklearn.base import is_classifier

    estimator = model.get_raw_model()
    inside = candidates.estimators(estimator)
    options: dict[int, dict[str, Any]] = {
        id(part): {"tokenexp": _ONNX_WORD, "locale": "C.UTF-8"}
        for part in inside
        if getattr(part, "token_pattern", None) == _SKLEARN_WORD
    }
    if is_classifier(estimator):
        options[id(estimator)] = {"zipmap": False}  # probabilities as an array, not as dicts
    onnx_model = convert_sklearn(
        estimator, initial_types=_inputs(model, schema, dtype), options=options or None
    )
    if dtype == "float64" and not any(map(_compares_doubles, inside)):
        trees.compare_as_float32(onnx_model)
    return onnx_model


def _compares_doubles(estimator: Any) -> bool:
    """Whether it is of those trees that don't make float32 of what they get."""
    return type(estimator).__name__.startswith("HistGradientBoosting")


def _layout(model: Any, schema: InputSchema) -> str:
    """A ColumnTransformer chooses among inputs by their names, and an input has one type."""
    if isinstance(schema, TensorSchema):
        return TABLE
    chooses = any(
        hasattr(part, "transformers") for part in candidates.estimators(model.get_raw_model())
    )
    mixed = len({dtype.kind == "O" for dtype in schema.dtypes}) > 1
    return COLUMNS if chooses or mixed else TABLE


def _inputs(model: Any, schema: InputSchema, dtype: str) -> list[tuple[str, Any]]:
    from skl2onnx.common import data_types

    number = {
        "float64": data_types.DoubleTensorType,
        "float32": data_types.FloatTensorType,
    }[dtype]
    if isinstance(schema, TensorSchema):
        return [("X", number([None, *(None if n < 0 else n for n in schema.shape[1:])]))]
    types = [
        data_types.StringTensorType if dtype.kind == "O" else number for dtype in schema.dtypes
    ]
    if _layout(model, schema) == TABLE:
        return [("X", types[0]([None, len(types)]))]
    return [(name, kind([None, 1])) for name, kind in zip(schema.names, types, strict=True)]


def _spec_of(
    onnx_model: Any, model: Any, schema: InputSchema, dtype: str, answers: list[Sample]
) -> OnnxSpec:
    answer = answers[0].answer
    return OnnxSpec(
        layout=_layout(model, schema),
        dtype=dtype,
        output=onnx_model.graph.output[_OUTPUTS[candidates.method_of(model)]].name,
        answer_shape=answer.shape[1:],
        answer_dtype="str" if answer.dtype.kind == "U" else str(answer.dtype),
        tolerance=compare.TOLERANCES[0],
        max_abs=tuple(
            _FARTHEST * largest for largest in samples.largest([sample.rows for sample in answers])
        ),
    )


def _write_if_alike(
    settings: Settings, onnx_model: Any, spec: OnnxSpec, schema: InputSchema, answers: list[Sample]
) -> Conversion:
    """Writes the converted model; raises NotAlike, or what ONNX Runtime raises at it."""
    content = onnx_model.SerializeToString()
    session = Session(content, spec)
    tolerance = max(_tolerance(session, schema, sample) for sample in answers)
    (settings.converted / result.MODEL).write_bytes(content)
    count = sum(len(sample.rows) for sample in answers)
    message = (
        f"in {spec.dtype} its predictions agree with the model's for {count} "
        f"rows, {len(answers[0].rows)} of them from the input example, floats to "
        f"{tolerance:g}"
    )
    return Conversion(replace(spec, tolerance=tolerance), message=message)


def _tolerance(session: Session, schema: InputSchema, sample: Sample) -> float:
    try:
        answer = session.predict(candidates.input_of(sample.rows, False, schema))
    except FallbackRequired:
        raise NotAlike(f"some rows {sample.kind} have no finite prediction then") from None
    tolerance = compare.tolerance_of(sample.answer, answer)
    if tolerance is None:
        wrong = compare.different_rows(sample.answer, answer)
        raise NotAlike(
            f"{wrong} of {len(sample.rows)} rows {sample.kind} are predicted differently"
        )
    return tolerance


def _summary(error: Exception) -> str:
    """These libraries say first what is wrong, then at length what could be done."""
    first = str(error).strip().partition("\n")[0]
    return bounded(f"{type(error).__name__}: {first}")
