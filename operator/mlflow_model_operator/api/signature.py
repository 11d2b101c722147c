"""The signature of a model version, and whether another's is compatible with it. Pure.

It comes from whoever may register a model: it is parsed within bounds, what is not as MLflow writes
it counts as unreadable, and messages repeat short names and types only.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from mlflow_model_operator.api.text import single_line

MAX_DEPTH = 16  # of types within types
MAX_NAME_LENGTH = 60  # characters of a name or type in a message
Spec = Mapping[str, Any]
Fields = Mapping[str, Spec]

# What MLflow itself converts where a column asks for the second type.
_WIDENED = {("integer", "long"), ("float", "double"), ("integer", "double")}
_MALFORMED = (ValueError, TypeError, KeyError, AttributeError, RecursionError)


@dataclass(frozen=True)
class Signature:
    """Inputs, outputs and params as the MLmodel file has them, in JSON; None: it has none."""

    inputs: str | None = None
    outputs: str | None = None
    params: str | None = None


class Unreadable(Exception):
    """A signature that is not as MLflow writes it."""

    def __init__(self) -> None:
        super().__init__("a signature is not as MLflow writes it")


@dataclass(frozen=True)
class Comparison:
    """What is in the way of the new version, and what could not be compared; in a few words."""

    problem: str | None = None
    unknown: str | None = None


def compare(old: Signature, new: Signature) -> Comparison:
    """Whether clients of `old` can stay as they are: requests are accepted, outputs are there."""
    try:
        problem = next(_problems(old, new), None)
    except Unreadable as error:
        return Comparison(unknown=str(error))
    return Comparison(problem, _absence(old, new))


def difference(old: Signature, new: Signature) -> str | None:
    """The first difference of any kind, in a few words."""
    try:
        return next(_differences(old, new), None)
    except Unreadable as error:
        return str(error)


def _problems(old: Signature, new: Signature) -> Iterator[str]:
    if old.inputs is not None and new.inputs is not None:
        yield from _inputs_problems(_fields(old.inputs), _fields(new.inputs))
    if old.outputs is not None and new.outputs is not None:
        yield from _outputs_problems(_fields(old.outputs), _fields(new.outputs))
    yield from _params_problems(_fields(old.params), _fields(new.params))


def _differences(old: Signature, new: Signature) -> Iterator[str]:
    parts = (
        ("input", old.inputs, new.inputs),
        ("output", old.outputs, new.outputs),
        ("param", old.params, new.params),
    )
    for kind, before, after in parts:
        first, second = _fields(before), _fields(after)
        for name in dict.fromkeys((*first, *second)):
            if first.get(name) != second.get(name):
                yield _differs(kind, name, first.get(name), second.get(name))


def _absence(old: Signature, new: Signature) -> str | None:
    """What the signatures say nothing of."""
    if old == Signature():
        return "the stable version has no signature"
    if new == Signature():
        return "the new version has no signature"
    if new.outputs is None and old.outputs is not None:
        return "the new version's signature has no outputs"
    if old.inputs is None and new.inputs is not None:
        return "the stable version's signature has no inputs"
    return None


def _inputs_problems(old: Fields, new: Fields) -> Iterator[str]:
    for name, spec in new.items():
        if name not in old:
            if _is_required(spec):
                yield f"the input {_shown(name)} ({_type(spec)}) is new and required"
        elif _is_required(spec) and not _is_required(old[name]):
            yield f"the input {_shown(name)} was optional and is required"
        elif not _accepts(spec, old[name], allows_more=False):
            yield _retyped("input", name, old[name], spec)


def _outputs_problems(old: Fields, new: Fields) -> Iterator[str]:
    for name, spec in old.items():
        if name not in new:
            yield f"the output {_shown(name)} ({_type(spec)}) is missing"
        elif not _accepts(spec, new[name], allows_more=True):
            yield _retyped("output", name, spec, new[name])


def _params_problems(old: Fields, new: Fields) -> Iterator[str]:
    for name, spec in new.items():
        if name in old and (_type(old[name]), old[name].get("shape")) != (
            _type(spec),
            spec.get("shape"),
        ):
            yield _retyped("param", name, old[name], spec)


def _accepts(target: Spec, source: Spec, *, allows_more: bool, depth: int = 0) -> bool:
    """Whether each value of the type `source` has the type `target` too.

    `allows_more`: also with properties that `target` does not have.
    """
    if depth > MAX_DEPTH:
        raise Unreadable
    kinds = source.get("type"), target.get("type")
    if kinds[1] == "any" or kinds in _WIDENED:
        return True
    if kinds[0] != kinds[1]:
        return False
    below = depth + 1
    match kinds[1]:
        case "tensor":
            return _accepts_tensor(target["tensor-spec"], source["tensor-spec"])
        case "array":
            parts = target["items"], source["items"]
            return _accepts(*parts, allows_more=allows_more, depth=below)
        case "map":
            parts = target["values"], source["values"]
            return _accepts(*parts, allows_more=allows_more, depth=below)
        case "object":
            parts = target["properties"], source["properties"]
            return _accepts_properties(*parts, allows_more=allows_more, depth=below)
    return True


def _accepts_properties(target: Fields, source: Fields, *, allows_more: bool, depth: int) -> bool:
    if not allows_more and source.keys() - target.keys():
        return False
    for name, spec in target.items():
        of = source.get(name)
        if _is_required(spec) and (of is None or not _is_required(of)):
            return False
        if of is not None and not _accepts(spec, of, allows_more=allows_more, depth=depth):
            return False
    return True


def _accepts_tensor(target: Spec, source: Spec) -> bool:
    shapes = list(target["shape"]), list(source["shape"])
    return (
        target["dtype"] == source["dtype"]
        and len(shapes[0]) == len(shapes[1])
        and all(of in (-1, length) for of, length in zip(*shapes, strict=True))
    )


def _fields(text: str | None) -> Fields:
    """The columns, tensors or params by name; of those without, by their number.

    What is returned has the keys that comparing it needs. Raises Unreadable.
    """
    fields: dict[str, Spec] = {}
    try:
        for number, spec in enumerate(json.loads(text or "[]")):
            _check(spec)
            fields[str(spec.get("name", number))] = spec
    except _MALFORMED:
        raise Unreadable from None
    return fields


def _check(spec: Any, depth: int = 0) -> None:
    """Raises Unreadable or one of _MALFORMED unless it is a type as MLflow writes it."""
    if depth > MAX_DEPTH:
        raise Unreadable
    if not isinstance(spec["type"], str):
        raise TypeError
    match spec["type"]:
        case "tensor":
            tensor = spec["tensor-spec"]
            if not isinstance(tensor["dtype"], str):
                raise TypeError
            if any(type(length) is not int for length in tensor["shape"]):
                raise TypeError
        case "array":
            _check(spec["items"], depth + 1)
        case "map":
            _check(spec["values"], depth + 1)
        case "object":
            for part in spec["properties"].values():
                _check(part, depth + 1)


def _is_required(spec: Spec) -> bool:
    """As MLflow writes it; before 2.6 it wrote what is optional."""
    return bool(spec.get("required", not spec.get("optional", False)))


def _differs(kind: str, name: str, old: Spec | None, new: Spec | None) -> str:
    if old is None or new is None:
        state = "new" if old is None else "missing"
        return f"the {kind} {_shown(name)} ({_type(new or old or {})}) is {state}"
    if _type(old) != _type(new):
        return _retyped(kind, name, old, new)
    if _is_required(old) != _is_required(new):
        states = ("required", "optional") if _is_required(old) else ("optional", "required")
        return f"the {kind} {_shown(name)} was {states[0]} and is {states[1]}"
    return f"the {kind} {_shown(name)} is another"


def _retyped(kind: str, name: str, old: Spec, new: Spec) -> str:
    return f"the {kind} {_shown(name)} was {_type(old)} and is {_type(new)}"


def _type(spec: Spec) -> str:
    """A type for people: double, tensor(float64, [-1, 3]), array(string), object(…)."""
    kind = str(spec.get("type"))
    match kind:
        case "tensor":
            tensor = spec["tensor-spec"]
            kind = f"tensor({tensor['dtype']}, {tensor['shape']})"
        case "array":
            kind = f"array({_type(spec['items'])})"
        case "map":
            kind = f"map({_type(spec['values'])})"
        case "object":
            parts = spec["properties"].items()
            kind = f"object({', '.join(f'{name}: {_type(part)}' for name, part in parts)})"
    return single_line(kind, MAX_NAME_LENGTH)


def _shown(name: str) -> str:
    return f"{single_line(name, MAX_NAME_LENGTH)!r}"
