"""Whether predictions, as JSON has them, fit the outputs of a signature. Pure.

The signature is the list of dicts that MLflow writes into the MLmodel file. Where that allows
several forms (a Series has a name that its list of predictions does not repeat), any of them fits.
Nothing that is returned repeats a prediction.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import islice
from typing import Any

Spec = Mapping[str, Any]

MAX_ROWS = 100  # that are looked at
MAX_ELEMENTS = 1000  # of a tensor
_WHOLE = ("integer", "long")
_NUMBERS = ("double", "float")
_TEXTS = ("string", "binary", "datetime")


def mismatch(outputs: Sequence[Spec], predictions: Any) -> str | None:
    """How the predictions don't fit, in a few words; None where they do."""
    if any(spec.get("type") == "tensor" for spec in outputs):
        return _tensors_mismatch(outputs, predictions)
    return _columns_mismatch(outputs, predictions)


def _columns_mismatch(columns: Sequence[Spec], predictions: Any) -> str | None:
    if isinstance(predictions, dict):
        return _record_mismatch(columns, predictions, _fits_some)
    rows = predictions if isinstance(predictions, list) else [predictions]
    problems = (_row_mismatch(columns, row) for row in rows[:MAX_ROWS])
    return next(filter(None, problems), None)


def _row_mismatch(columns: Sequence[Spec], row: Any) -> str | None:
    """A row: a value, a list of values, or a dict of them by name."""
    if len(columns) == 1 and _fits(columns[0], row):
        return None
    if isinstance(row, dict) and all(column.get("name") is not None for column in columns):
        return _record_mismatch(columns, row, _fits)
    if isinstance(row, dict):  # of columns without names MLflow writes the numbers instead
        row = list(row.values())
    if isinstance(row, list) and len(row) == len(columns):
        pairs = zip(columns, row, strict=True)
        return next((_wrong(c, value) for c, value in pairs if not _fits(c, value)), None)
    if len(columns) == 1:
        return _wrong(columns[0], row)
    return f"a prediction is {_kind(row)}, and the signature has {len(columns)} outputs"


def _record_mismatch(
    columns: Sequence[Spec], record: Mapping[str, Any], fits: Callable[[Spec, Any], bool]
) -> str | None:
    for column in columns:
        name = str(column.get("name"))
        if name not in record:
            if _is_required(column):
                return f"the output {_quoted(name)} is missing"
        elif not fits(column, record[name]):
            return _wrong(column, record[name])
    return None


def _fits_some(spec: Spec, value: Any) -> bool:
    """A value of that type, or a list of such."""
    is_list = isinstance(value, list)
    return _fits(spec, value) or (is_list and all(_fits(spec, v) for v in value[:MAX_ROWS]))


def _fits(spec: Spec, value: Any) -> bool:
    type_ = spec.get("type")
    if value is None:
        return not _is_required(spec) or type_ in (*_NUMBERS, "any")
    match type_:
        case "array":
            items = spec.get("items", {})
            return isinstance(value, list) and all(_fits(items, v) for v in value[:MAX_ROWS])
        case "object":
            return isinstance(value, dict) and _fits_properties(spec, value)
        case "map":
            values = spec.get("values", {})
            return isinstance(value, dict) and all(
                _fits(values, v) for v in islice(value.values(), MAX_ROWS)
            )
    return _fits_scalar(str(type_), value)


def _fits_properties(spec: Spec, value: Mapping[str, Any]) -> bool:
    return all(
        _fits(of, value[name]) if name in value else not _is_required(of)
        for name, of in spec.get("properties", {}).items()
    )


def _fits_scalar(type_: str, value: Any) -> bool:
    if type_ in _WHOLE:
        return type(value) is int
    if type_ in _NUMBERS:
        return type(value) in (int, float)
    if type_ in _TEXTS:
        return isinstance(value, str)
    if type_ == "boolean":
        return isinstance(value, bool)
    return True  # any, or what a newer MLflow has


def _tensors_mismatch(tensors: Sequence[Spec], predictions: Any) -> str | None:
    if len(tensors) == 1 and not isinstance(predictions, dict):
        return _tensor_mismatch(tensors[0], predictions)
    if not isinstance(predictions, dict):
        return f"the predictions are {_kind(predictions)}, and the signature has names for outputs"
    for number, tensor in enumerate(tensors):
        name = str(tensor.get("name", number))
        if name not in predictions:
            return f"the output {_quoted(name)} is missing"
        if problem := _tensor_mismatch(tensor, predictions[name]):
            return problem
    return None


def _tensor_mismatch(tensor: Spec, value: Any) -> str | None:
    about = tensor.get("tensor-spec", {})
    dtype, shape = str(about.get("dtype")), list(about.get("shape", ()))
    actual = _shape(value)
    subject = _subject(tensor)
    is_same = len(actual) == len(shape) and all(
        expected in (-1, length) for expected, length in zip(shape, actual, strict=True)
    )
    if not is_same and 0 not in actual:
        return f"{subject} has the shape {actual}, and the signature says {shape}"
    for element in islice(_elements(value), MAX_ELEMENTS):
        if not _is_element(dtype, element):
            return f"{subject} has {_kind(element)}, and the signature says {dtype}"
    return None


def _shape(value: Any) -> list[int]:
    shape = []
    while isinstance(value, list):
        shape.append(len(value))
        value = value[0] if value else None
    return shape


def _elements(value: Any) -> Iterator[Any]:
    if isinstance(value, list):
        for part in value:
            yield from _elements(part)
    else:
        yield value


def _is_element(dtype: str, value: Any) -> bool:
    if dtype.startswith("float"):
        return value is None or type(value) in (int, float)
    if dtype.startswith(("int", "uint")):
        return type(value) is int
    if dtype.startswith("bool"):
        return isinstance(value, bool)
    if dtype.startswith(("str", "bytes", "datetime")):
        return value is None or isinstance(value, str)
    return True


def _is_required(spec: Spec) -> bool:
    return bool(spec.get("required", not spec.get("optional", False)))


def _wrong(spec: Spec, value: Any) -> str:
    return f"{_subject(spec)} is {_kind(value)}, and the signature says {spec.get('type')}"


def _subject(spec: Spec) -> str:
    name = spec.get("name")
    return "the output" if name is None else f"the output {_quoted(str(name))}"


def _quoted(name: str) -> str:
    return repr(name if len(name) <= MAX_ROWS else f"{name[:MAX_ROWS]}…")


def _kind(value: Any) -> str:
    """What a value is in JSON."""
    kinds: dict[type, str] = {
        bool: "a boolean",
        int: "a whole number",
        float: "a number",
        str: "a string",
        list: "a list",
        dict: "an object",
    }
    return "null" if value is None else kinds[type(value)]
