"""Whether the signature of a version holds for the next one."""

from __future__ import annotations

import json
from typing import Any

import pytest

from mlflow_model_operator.api.signature import MAX_DEPTH, Signature, compare, difference

Json = dict[str, Any]


def column(name: str | None, type_: str, required: bool = True, **more: Any) -> Json:
    named = {} if name is None else {"name": name}
    return {"type": type_, **named, "required": required, **more}


def tensor(shape: list[int], dtype: str = "float64", **name: str) -> Json:
    return {"type": "tensor", "tensor-spec": {"dtype": dtype, "shape": shape}, **name}


def thing(**properties: Json) -> Json:
    return {"type": "object", "properties": properties}


def signature(
    inputs: list[Json] | None = None, outputs: list[Json] | None = None, *params: Json
) -> Signature:
    def text(part: list[Json] | None) -> str | None:
        return None if part is None else json.dumps(part)

    return Signature(text(inputs), text(outputs), text(list(params) or None))


A, B = column("a", "double"), column("b", "string")
OUT = [column("price", "double")]


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (signature([A], OUT), signature([A], OUT)),
        (signature([A, B], OUT), signature([B, A], OUT)),
        (signature([A, B], OUT), signature([A], OUT)),
        (signature([A], OUT), signature([A, column("b", "string", required=False)], OUT)),
        (signature([A], OUT), signature([column("a", "double", required=False)], OUT)),
        (signature([column("a", "integer")]), signature([column("a", "long")])),
        (signature([column("a", "float")]), signature([A])),
        (signature([A], OUT), signature([A], [*OUT, column("grade", "string")])),
        (signature([tensor([-1, 3])]), signature([tensor([-1, -1])])),
        (
            signature([thing(x=column(None, "double"))]),
            signature([thing(x=column(None, "double"), y=column(None, "long", required=False))]),
        ),
        (
            signature(None, [thing(x=column(None, "double"))]),
            signature(None, [thing(x=column(None, "double"), y=column(None, "long"))]),
        ),
        (signature([A]), signature([A], None, {"name": "p", "type": "long", "default": 1})),
    ],
)
def test_what_clients_need_not_notice_is_compatible(old: Signature, new: Signature) -> None:
    assert compare(old, new).problem is None


@pytest.mark.parametrize(
    ("old", "new", "problem"),
    [
        ([A], [A, B], "the input 'b' (string) is new and required"),
        ([B], [column("b", "double")], "the input 'b' was string and is double"),
        ([A], [column("a", "float")], "the input 'a' was double and is float"),
        (
            [column("a", "double", required=False)],
            [A],
            "the input 'a' was optional and is required",
        ),
        (
            [tensor([-1, 3])],
            [tensor([-1, 4])],
            "the input '0' was tensor(float64, [-1, 3]) and is tensor(float64, [-1, 4])",
        ),
        (
            [tensor([-1, 3])],
            [tensor([-1, 3], "float32")],
            "the input '0' was tensor(float64, [-1, 3]) and is tensor(float32, [-1, 3])",
        ),
        ([A], [tensor([-1, 1])], "the input '0' (tensor(float64, [-1, 1])) is new and required"),
        (
            [column("a", "array", items=column(None, "string"))],
            [column("a", "array", items=column(None, "long"))],
            "the input 'a' was array(string) and is array(long)",
        ),
        (
            [{"name": "a", **thing(x=column(None, "long"))}],
            [{"name": "a", **thing(x=column(None, "long"), y=column(None, "long"))}],
            "the input 'a' was object(x: long) and is object(x: long, y: long)",
        ),
        (
            [{"name": "a", **thing(x=column(None, "long"), y=column(None, "long"))}],
            [{"name": "a", **thing(x=column(None, "long"))}],
            "the input 'a' was object(x: long, y: long) and is object(x: long)",
        ),
    ],
)
def test_a_new_or_retyped_input_is_named(old: list[Json], new: list[Json], problem: str) -> None:
    assert compare(signature(old), signature(new)).problem == problem


@pytest.mark.parametrize(
    ("old", "new", "problem"),
    [
        (OUT, [column("grade", "string")], "the output 'price' (double) is missing"),
        (OUT, [column("price", "string")], "the output 'price' was double and is string"),
        (
            [column("n", "float")],
            [column("n", "double")],
            "the output 'n' was float and is double",
        ),
        (
            [tensor([-1], name="a")],
            [tensor([-1, 1], name="a")],
            "the output 'a' was tensor(float64, [-1]) and is tensor(float64, [-1, 1])",
        ),
    ],
)
def test_a_missing_or_retyped_output_is_named(
    old: list[Json], new: list[Json], problem: str
) -> None:
    assert compare(signature([A], old), signature([A], new)).problem == problem


def test_a_retyped_param_is_named() -> None:
    old = signature([A], OUT, {"name": "p", "type": "long", "default": 1, "shape": None})
    new = signature([A], OUT, {"name": "p", "type": "string", "default": "1", "shape": None})
    assert compare(old, new).problem == "the param 'p' was long and is string"


def test_what_cannot_be_compared_is_named() -> None:
    full = signature([A], OUT)
    assert compare(Signature(), full).unknown == "the stable version has no signature"
    assert compare(full, Signature()).unknown == "the new version has no signature"
    assert compare(full, signature([A])).unknown == "the new version's signature has no outputs"
    assert compare(signature(None, OUT), full).unknown is not None
    assert compare(full, full).unknown is None


def test_before_mlflow_2_6_optional_columns_said_so() -> None:
    optional = {"name": "b", "type": "string", "optional": True}
    assert compare(signature([A]), signature([A, optional])).problem is None


@pytest.mark.parametrize(
    ("old", "new", "first"),
    [
        ([A], [A], None),
        ([A, B], [A], "the input 'b' (string) is missing"),
        ([A], [A, column("b", "string", required=False)], "the input 'b' (string) is new"),
        (
            [A],
            [column("a", "double", required=False)],
            "the input 'a' was required and is optional",
        ),
        ([column("a", "integer")], [column("a", "long")], "the input 'a' was integer and is long"),
    ],
)
def test_strictly_any_difference_counts(
    old: list[Json], new: list[Json], first: str | None
) -> None:
    assert difference(signature(old), signature(new)) == first


def deep(levels: int) -> Json:
    spec: Json = {"type": "long"}
    for _ in range(levels):
        spec = {"type": "array", "items": spec}
    return {"name": "a", **spec}


@pytest.mark.parametrize(
    "text",
    [
        "nonsense",
        "5",
        "[5]",
        "[[]]",
        "[{}]",
        '[{"type": 5}]',
        '[{"type": "tensor"}]',
        '[{"type": "tensor", "tensor-spec": {"dtype": "x", "shape": [[]]}}]',
        '[{"type": "array", "items": "long"}]',
        '[{"type": "object", "properties": []}]',
        json.dumps([deep(MAX_DEPTH + 1)]),
        "[" * 60_000,
        '{"a":' * 10_000,
        f'[{{"type": {"9" * 60_000}}}]',
    ],
    ids=lambda text: text[:30],
)
def test_what_mlflow_would_not_write_is_unreadable(text: str) -> None:
    for old, new in ((Signature(text), signature([A])), (signature([A]), Signature(text))):
        assert compare(old, new).unknown == "a signature is not as MLflow writes it"
        assert difference(old, new) == "a signature is not as MLflow writes it"


def test_messages_are_short_whatever_the_names_are() -> None:
    long = signature([column("x\n" * 30_000, "y" * 30_000)])
    problem = compare(signature([A]), long).problem
    assert problem is not None
    assert len(problem) < 200
    assert "\n" not in problem
