"""Each of MLflow's types by the Open Inference Protocol, as by MLflow's own.

Every type of column and tensor goes by JSON, binary and gRPC: the model gets what `/invocations`
gives it, and what it returns says what `/invocations` says of it.
"""

from __future__ import annotations

import base64
import datetime
import decimal
import json
import math
import warnings
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import mlflow
import numpy as np
import pandas as pd
import pydantic
import pytest
from mlflow.models import Model, ModelSignature
from mlflow.pyfunc import PyFuncModel, PythonModel
from mlflow.types import Schema, TensorSpec
from mlflow.types.schema import AnyType, Array, ColSpec, DataType, Map, Object, Property

from mlflow_model_server.codecs import openinference as codec
from mlflow_model_server.codecs.errors import BadRequest
from mlflow_model_server.codecs.metadata import Spec, spec_of
from mlflow_model_server.codecs.openinference import Inference
from mlflow_model_server.codecs.outputs import Output
from mlflow_model_server.codecs.tensors import DTYPES
from mlflow_model_server.grpc import convert
from mlflow_model_server.grpc.messages import message
from mlflow_model_server.inference.mlflow_fallback import Fallback
from mlflow_model_server.responses import Rejected
from tests.parity import pyfuncs


class Stub:
    """A model that keeps its input, and returns what it was made with."""

    def __init__(self, returned: Any = 0) -> None:
        self.returned = returned
        self.inputs: list[Any] = []

    def predict(self, data: Any) -> Any:
        self.inputs.append(data)
        return self.returned


def fallback(stub: Stub, signature: ModelSignature | None = None) -> Fallback:
    return Fallback(PyFuncModel(model_meta=Model(signature=signature), model_impl=stub))


# How a tensor is sent: what the input has, and what a column's or tensor's elements are by it.
@dataclass(frozen=True)
class Wire:
    """A way for the elements of an input, and what it brings to the codec."""

    name: str
    decode: Callable[[dict[str, Any], list[Any], Spec], Inference]
    is_binary: bool


def by_json(tensor: dict[str, Any], elements: list[Any], spec: Spec) -> Inference:
    body = json.dumps({"inputs": [{**tensor, "data": elements}]}).encode()
    return codec.decode(body, {}, spec)


def raw_bytes(datatype: str, elements: list[Any]) -> bytes:
    if datatype == "BYTES":
        return b"".join(len(e).to_bytes(4, "little") + e for e in elements)
    return np.array(elements, DTYPES[datatype]).tobytes()


def by_binary(tensor: dict[str, Any], elements: list[Any], spec: Spec) -> Inference:
    tail = raw_bytes(tensor["datatype"], elements)
    parameters = {**tensor.get("parameters", {}), "binary_data_size": len(tail)}
    head = json.dumps({"inputs": [{**tensor, "parameters": parameters}]}).encode()
    return codec.decode(head + tail, {codec.HEADER_LENGTH: str(len(head)).encode()}, spec)


def grpc_request(tensor: dict[str, Any]) -> Any:
    request = message("ModelInferRequest")()
    described = request.inputs.add(
        name=tensor["name"], datatype=tensor["datatype"], shape=tensor["shape"]
    )
    for key, value in tensor.get("parameters", {}).items():
        described.parameters[key].string_param = value
    return request


def by_grpc_contents(tensor: dict[str, Any], elements: list[Any], spec: Spec) -> Inference:
    request = grpc_request(tensor)
    field = convert._CONTENTS[tensor["datatype"]]
    getattr(request.inputs[0].contents, field).extend(elements)
    return convert.inference_of(request, spec)


def by_grpc_raw(tensor: dict[str, Any], elements: list[Any], spec: Spec) -> Inference:
    request = grpc_request(tensor)
    request.raw_input_contents.append(raw_bytes(tensor["datatype"], elements))
    return convert.inference_of(request, spec)


WIRES = (
    Wire("json", by_json, False),
    Wire("binary", by_binary, True),
    Wire("grpc-contents", by_grpc_contents, True),
    Wire("grpc-raw", by_grpc_raw, True),
)


@dataclass(frozen=True)
class Case:
    """A column or tensor: its elements as MLflow's JSON has them."""

    name: str
    spec: Any
    elements: list[Any]
    # As the protocol's text, where that is another one.
    text: Callable[[Any], str] = str
    # As bytes, where these are not the text's.
    binary: Callable[[Any], bytes] | None = None
    has_null: bool = False

    @property
    def is_column(self) -> bool:
        return isinstance(self.spec, ColSpec)


def b64(value: bytes) -> str:
    return base64.b64encode(value).decode()


MOMENTS = ["2026-01-31T12:00:00", "1969-12-31T23:59:59"]
BINARY = [b64(b"hello"), b64(b"\xff\x00\xfe"), b64(b"")]
PERSON = Object([Property("age", DataType.long), Property("name", DataType.string)])


def column(kind: Any, elements: list[Any], name: str = "", **more: Any) -> Case:
    label = name or str(getattr(kind, "name", kind)).partition("(")[0]
    return Case(f"column of {label}", ColSpec(kind, "x"), elements, **more)


COLUMNS = (
    column(DataType.boolean, [True, False, True]),
    column(DataType.integer, [1, -(2**31), 2**31 - 1]),
    column(DataType.long, [1, -(2**63), 2**63 - 1]),
    column(DataType.float, [0.5, -1.25, 3e38]),
    column(DataType.double, [0.1, -1.7e308, 5e-324]),
    column(DataType.double, [0.1, None], "double with a null", has_null=True),
    column(DataType.string, ["a", "ü ☃ \U0001f600", "", "aGVsbG8="]),
    column(DataType.string, ["a", None], "string with a null", has_null=True),
    column(DataType.binary, BINARY, binary=base64.b64decode),
    column(DataType.datetime, MOMENTS),
    column(DataType.datetime, [MOMENTS[0], None], "datetime with a null", has_null=True),
    column(Array(DataType.double), [[1.5, 2.0], [3.0], [-0.5]], text=json.dumps),
    column(Array(DataType.string), [["a", "b"], ["c"]], "array of strings", text=json.dumps),
    column(Array(PERSON), [[{"age": 1, "name": "a"}], []], "array of objects", text=json.dumps),
    column(PERSON, [{"age": 1, "name": "x"}, {"age": 2, "name": "ü"}], text=json.dumps),
    column(Map(DataType.long), [{"a": 1, "b": 2}, {"c": 3}], text=json.dumps),
    column(AnyType(), [{"a": [1]}, "text", 1.5, None], text=json.dumps),
    column(AnyType(), [1, 2], "any, all numbers", text=json.dumps),
)


def tensor(dtype: str, elements: list[Any], shape: tuple[int, ...] = (-1,), **more: Any) -> Case:
    return Case(f"tensor of {dtype}", TensorSpec(np.dtype(dtype), shape), elements, **more)


TENSORS = (
    tensor("bool", [True, False]),
    *(tensor(f"int{bits}", [1, -(2 ** (bits - 1))]) for bits in (8, 16, 32, 64)),
    *(tensor(f"uint{bits}", [1, 2**bits - 1]) for bits in (8, 16, 32, 64)),
    tensor("float16", [0.5, -2.0]),
    tensor("float32", [0.5, -1.25]),
    tensor("float64", [0.1, -1e300]),
    tensor("longdouble", [0.5, -1.25]),
    tensor("complex64", [0.5, -1.25]),
    tensor("complex128", [0.1, -1.25]),
    tensor("str", ["a", "ü ☃", ""]),
    tensor("bytes", ["a", "bcd"]),
    tensor("object", ["a", "ü"]),
    tensor("datetime64[ns]", MOMENTS),
    tensor("datetime64[s]", ["2026-01-31T12:00:00"]),
    tensor("timedelta64[s]", [5, -7]),
)
CASES = (*COLUMNS, *TENSORS)


def by_invocations(case: Case) -> Any:
    """What MLflow's protocol gives the model."""
    stub = Stub()
    if case.is_column:
        table = {"columns": ["x"], "data": [[element] for element in case.elements]}
        body: dict[str, Any] = {"dataframe_split": table}
    else:
        body = {"inputs": case.elements}
    signature = ModelSignature(inputs=Schema([case.spec]))
    response = fallback(stub, signature).respond(json.dumps(body).encode(), "application/json")
    assert response.response.status == 200, response.response.body
    return stub.inputs[0]


def by_openinference(case: Case, wire: Wire, announced: bool) -> Any:
    """What the Open Inference Protocol gives it."""
    stub, signature = Stub(), ModelSignature(inputs=Schema([case.spec]))
    spec = spec_of(signature)
    (field,) = spec.inputs
    sent: dict[str, Any] = {
        "name": field.name,
        "datatype": field.datatype,
        "shape": [len(case.elements)],
    }
    if announced:
        sent["parameters"] = {"content_type": field.content_type}
    elements = [_element(case, field.datatype, wire, announced, e) for e in case.elements]
    inference = wire.decode(sent, elements, spec)
    fallback(stub, signature).predict(codec.frame_of(inference.data, spec), None)
    return stub.inputs[0]


def _element(case: Case, datatype: str, wire: Wire, announced: bool, element: Any) -> Any:
    if datatype != "BYTES":
        # In binary NaN stands for it.
        return element if element is not None or not wire.is_binary else math.nan
    if element is None and case.has_null:
        return None
    text = case.text(element)
    if not wire.is_binary:
        return text
    # By its content type it is base64; else bytes are themselves.
    return case.binary(text) if case.binary is not None and not announced else text.encode()


@pytest.mark.parametrize("announced", [False, True], ids=["plain", "with content types"])
@pytest.mark.parametrize("wire", WIRES, ids=lambda wire: wire.name)
@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_the_model_gets_the_same_as_by_invocations(case: Case, wire: Wire, announced: bool) -> None:
    datatype = spec_of(ModelSignature(inputs=Schema([case.spec]))).inputs[0].datatype
    if case.has_null and wire.is_binary and datatype == "BYTES":
        pytest.skip("bytes have no null")
    if wire is WIRES[2] and datatype == "FP16":
        pytest.skip("gRPC's contents have no FP16")
    assert described(by_openinference(case, wire, announced)) == described(by_invocations(case))


def described(data: Any) -> Any:
    """All that a model can see of its input, comparable."""
    if isinstance(data, pd.DataFrame):
        return {
            name: [str(data[name].dtype), *map(_described, data[name])] for name in data.columns
        }
    if isinstance(data, np.ndarray):
        return [str(data.dtype), data.shape, *map(_described, data.ravel().tolist())]
    return _described(data)


def _described(value: Any) -> Any:
    if isinstance(value, list | np.ndarray):
        return [type(value).__name__, *map(_described, value)]
    if isinstance(value, dict):
        return {key: _described(part) for key, part in value.items()}
    return [type(value).__name__, repr(value)]


@pytest.mark.parametrize("case", COLUMNS, ids=lambda case: case.name)
def test_columns_go_beside_others(case: Case) -> None:
    """As a [rows, 1] tensor, and beside a column of another type."""
    signature = ModelSignature(inputs=Schema([case.spec, ColSpec("double", "y")]))
    spec = spec_of(signature)
    field = spec.inputs[0]
    elements = [_element(case, field.datatype, WIRES[0], False, e) for e in case.elements]
    shape = [len(elements), 1]
    body = {
        "inputs": [
            {"name": "y", "datatype": "FP64", "shape": shape, "data": [1.5] * len(elements)},
            {"name": "x", "datatype": field.datatype, "shape": shape, "data": elements},
        ]
    }
    inference = codec.decode(json.dumps(body).encode(), {}, spec)
    stub = Stub()
    fallback(stub, signature).predict(codec.frame_of(inference.data, spec), None)
    columns = described(stub.inputs[0])
    assert columns["x"] == described(by_invocations(case))["x"]


def test_arrays_of_one_length_may_be_a_tensor_of_numbers() -> None:
    case = column(Array(DataType.double), [[1.5, 2.0], [3.0, 4.0]])
    signature = ModelSignature(inputs=Schema([case.spec]))
    spec = spec_of(signature)
    sent = {"name": "x", "datatype": "FP64", "shape": [2, 2]}
    stub = Stub()
    inference = by_json(sent, [1.5, 2.0, 3.0, 4.0], spec)
    fallback(stub, signature).predict(codec.frame_of(inference.data, spec), None)
    assert described(stub.inputs[0]) == described(by_invocations(case))


@pytest.mark.parametrize(
    ("kind", "elements", "parameters", "sentence"),
    [
        (DataType.string, [b"\xff"], {}, "is text, but not all of its elements are UTF-8"),
        (DataType.binary, [b"?"], {"content_type": "base64"}, "has elements that are not base64"),
        (DataType.datetime, [b"yesterday"], {}, "has elements that are not times"),
        (DataType.datetime, [b"2026-13-01"], {"content_type": "datetime"}, "are not times"),
        (Map(DataType.long), [b"{"], {}, "has elements that are not JSON"),
        (DataType.string, [b"[1]"], {"content_type": "pd_json"}, "is text in the signature"),
        (DataType.binary, [b"[1]"], {"content_type": "pd_json"}, "is binary in the signature"),
    ],
)
def test_other_types_are_refused(
    kind: Any, elements: list[bytes], parameters: dict[str, str], sentence: str
) -> None:
    spec = spec_of(ModelSignature(inputs=Schema([ColSpec(kind, "x")])))
    sent = {"name": "x", "datatype": "BYTES", "shape": [1], "parameters": parameters}
    with pytest.raises(BadRequest, match=sentence):
        by_grpc_raw(sent, elements, spec)


@pytest.mark.parametrize(
    ("dtype", "element", "sentence"),
    [("str", None, "has a null"), ("bytes", "a\0", "ends with a zero byte")],
)
def test_elements_that_a_tensor_cannot_hold_are_refused(
    dtype: str, element: Any, sentence: str
) -> None:
    spec = spec_of(ModelSignature(inputs=Schema([TensorSpec(np.dtype(dtype), (-1,))])))
    sent = {"name": "x", "datatype": "BYTES", "shape": [1]}
    with pytest.raises(BadRequest, match=sentence):
        by_json(sent, [element], spec)


def test_without_a_signature_bytes_are_text_unless_the_content_type_says_otherwise() -> None:
    sent = {"name": "x", "datatype": "BYTES", "shape": [2]}
    assert by_binary(sent, [b"a", "ü".encode()], Spec()).data.tolist() == ["a", "ü"]
    with pytest.raises(BadRequest, match="not all of its elements are UTF-8"):
        by_binary(sent, [b"a", b"\xff"], Spec())
    raw = {**sent, "parameters": {"content_type": "np"}}
    assert by_binary(raw, [b"a", b"\xff"], Spec()).data.tolist() == [b"a", b"\xff"]
    encoded = {**sent, "parameters": {"content_type": "base64"}}
    assert by_json(encoded, [b64(b"a"), b64(b"\xff")], Spec()).data.tolist() == [b"a", b"\xff"]
    moments = {**sent, "parameters": {"content_type": "datetime"}}
    assert by_json(moments, MOMENTS, Spec()).data.dtype == np.dtype("datetime64[ns]")
    parsed = {**sent, "parameters": {"content_type": "pd_json"}}
    assert by_json(parsed, ['{"a": 1}', "null"], Spec()).data.tolist() == [{"a": 1}, None]


def test_a_request_may_ask_for_tensors_by_name() -> None:
    named = {"parameters": {"content_type": "dict"}}
    sent = {"name": "x", "datatype": "FP64", "shape": [1], "data": [1.0]}
    body = json.dumps({"inputs": [sent], **named}).encode()
    data = codec.decode(body, {}, Spec()).data
    assert list(data) == ["x"] and data["x"].tolist() == [1.0]


def test_models_with_type_hints_get_lists() -> None:
    signature = ModelSignature(inputs=Schema([ColSpec(PERSON)]))
    signature._is_signature_from_type_hint = True
    sent = {"name": "input-1", "datatype": "BYTES", "shape": [2]}
    people = [{"age": 1, "name": "a"}, {"age": 2, "name": "b"}]
    inference = by_json(sent, list(map(json.dumps, people)), spec_of(signature))
    assert inference.data == people


def test_requests_as_mlservers_codecs_write_them() -> None:
    """By PandasCodec, DatetimeCodec, Base64Codec and StringCodec of MLServer 1.7.1."""
    spec = spec_of(
        ModelSignature(
            Schema(
                [
                    ColSpec("double", "d"),
                    ColSpec("string", "s"),
                    ColSpec("boolean", "b"),
                    ColSpec(PERSON, "o"),
                    ColSpec("datetime", "t"),
                    ColSpec("binary", "x"),
                ]
            )
        )
    )
    body = b"""{"parameters":{"content_type":"pd"},"inputs":[
        {"name":"d","shape":[2,1],"datatype":"FP64","data":[1.5,null]},
        {"name":"s","shape":[2,1],"datatype":"BYTES","parameters":{"content_type":"str"},
         "data":["x","\xc3\xbc"]},
        {"name":"b","shape":[2,1],"datatype":"BOOL","data":[true,false]},
        {"name":"o","shape":[2,1],"datatype":"BYTES","parameters":{"content_type":"pd_json"},
         "data":["{\\"age\\":1,\\"name\\":\\"a\\"}","{\\"age\\":2,\\"name\\":\\"b\\"}"]},
        {"name":"t","shape":[2,1],"datatype":"BYTES","parameters":{"content_type":"datetime"},
         "data":["2026-01-31T12:00:00","2026-01-31T12:00:00.000005"]},
        {"name":"x","shape":[2,1],"datatype":"BYTES","parameters":{"content_type":"base64"},
         "data":["/wA=","aGk="]}]}"""
    frame = codec.decode(body, {}, spec).data
    assert frame["d"].isna().tolist() == [False, True]
    assert frame["s"].tolist() == ["x", "ü"]
    assert frame["b"].tolist() == [True, False]
    assert frame["o"].tolist() == [{"age": 1, "name": "a"}, {"age": 2, "name": "b"}]
    assert frame["t"].tolist() == [
        pd.Timestamp("2026-01-31T12:00:00"),
        pd.Timestamp("2026-01-31T12:00:00.000005"),
    ]
    assert frame["x"].tolist() == [b"\xff\x00", b"hi"]


class Item(pydantic.BaseModel):
    """As users write them."""

    name: str
    size: int = 1


HINTS: dict[str, tuple[Any, str, list[Any], Callable[[Any], Any]]] = {
    "text": (list[str], "BYTES", ["a", "ü"], str),
    "objects": (list[Item], "BYTES", [{"name": "a"}, {"name": "b", "size": 2}], json.dumps),
    "numbers": (list[float], "FP64", [0.5, 1.5], float),
    "booleans": (list[bool], "BOOL", [True, False], bool),
    "moments": (list[datetime.datetime], "BYTES", MOMENTS, str),
    "arrays": (list[list[float]], "BYTES", [[0.5], [1.5, 2.5]], json.dumps),
    "maps": (list[dict[str, int]], "BYTES", [{"a": 1}], json.dumps),
}


@pytest.mark.parametrize("name", HINTS)
def test_models_with_type_hints_get_the_same_as_by_invocations(name: str, tmp_path: Path) -> None:
    hint, datatype, elements, written = HINTS[name]

    class Hinted(PythonModel):  # type: ignore[misc]
        def predict(self, model_input):  # type: ignore[no-untyped-def]
            return [repr(value) for value in model_input]

    Hinted.predict.__annotations__["model_input"] = hint
    mlflow.pyfunc.save_model(tmp_path / "model", python_model=Hinted(), pip_requirements=[])
    loaded = mlflow.pyfunc.load_model(str(tmp_path / "model"))
    serving, spec = Fallback(loaded), spec_of(loaded.metadata.signature)
    body = json.dumps({"inputs": elements}).encode()
    response = serving.respond(body, "application/json").response
    assert response.status == 200, response.body
    data = [written(element) for element in elements]
    sent = {"name": "input-1", "datatype": datatype, "shape": [len(data)]}
    inference = by_json(sent, data, spec)
    predictions = serving.predict(inference.data, None).predictions
    assert predictions == json.loads(response.body)["predictions"]


def test_a_chat_model_has_columns(tmp_path: Path) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # MLflow's word on ChatModel
        mlflow.pyfunc.save_model(
            tmp_path / "model", python_model=pyfuncs.Chat(), pip_requirements=[]
        )
    loaded = mlflow.pyfunc.load_model(str(tmp_path / "model"))
    serving, spec = Fallback(loaded), spec_of(loaded.metadata.signature)
    messages = [{"role": "user", "content": "Hi"}]
    body = json.dumps({"messages": messages, "temperature": 0.5}).encode()
    expected = json.loads(serving.respond(body, "application/json").response.body)
    inputs = [
        {"name": "messages", "datatype": "BYTES", "shape": [1], "data": [json.dumps(messages)]},
        {"name": "temperature", "datatype": "FP64", "shape": [1], "data": [0.5]},
    ]
    inference = codec.decode(json.dumps({"inputs": inputs}).encode(), {}, spec)
    predictions = serving.predict(inference.data, inference.params).predictions
    outputs = codec.outputs_of(predictions, inference.requested, spec)
    assert restored(outputs["choices"], False) == expected["choices"]


# --- What the model returns ---


def restored(output: Output, is_binary: bool) -> Any:
    """An output's elements as a client reads them, nested by its shape."""
    if is_binary:
        elements = _from_raw(output.datatype, output.to_bytes())
        content_type = output.binary_content_type
    else:
        elements = json.loads(json.dumps(output.to_json()))
        content_type = output.content_type
    decode = _READERS.get(content_type or "", lambda value: value)
    flat = [None if element is None else decode(element) for element in elements]
    return _nested(flat, output.shape)


def _from_raw(datatype: str, raw: bytes) -> list[Any]:
    if datatype != "BYTES":
        return [_finite(v) for v in np.frombuffer(raw, DTYPES[datatype]).tolist()]
    elements: list[Any] = []
    while raw:
        end = 4 + int.from_bytes(raw[:4], "little")
        elements.append(raw[4:end])
        raw = raw[end:]
    return elements


def _finite(value: Any) -> Any:
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _text(value: Any) -> str:
    return value.decode() if isinstance(value, bytes) else value


# By content type.
_READERS: dict[str, Callable[[Any], Any]] = {
    "str": _text,
    "datetime": _text,
    "pd_json": json.loads,
    "base64": _text,
}


def _nested(flat: list[Any], shape: list[int]) -> Any:
    if len(shape) <= 1:
        return flat
    size = len(flat) // shape[0] if shape[0] else 0
    return [_nested(flat[i * size : (i + 1) * size], shape[1:]) for i in range(shape[0])]


def said_by_invocations(returned: Any, signature: ModelSignature | None) -> tuple[int, Any]:
    """The status, and the predictions, of which each column or output is by its name."""
    answered = fallback(Stub(returned), signature).respond(b'{"inputs": [1]}', "application/json")
    if answered.response.status != 200:
        return answered.response.status, None
    predictions = _plain(json.loads(answered.response.body)["predictions"])
    if isinstance(returned, pd.DataFrame):
        names = map(str, returned.columns)
        return 200, {name: [row[name] for row in predictions] for name in names}
    if isinstance(returned, pd.Series):
        return 200, {"output-1": [next(iter(row.values())) for row in predictions]}
    if isinstance(returned, dict):
        values = {k: v if isinstance(v, list) else [v] for k, v in predictions.items()}
        return 200, values
    if isinstance(returned, tuple):
        outputs = enumerate(predictions, 1)
        return 200, {f"output-{i}": v if isinstance(v, list) else [v] for i, v in outputs}
    return 200, {"output-1": predictions if isinstance(predictions, list) else [predictions]}


def _plain(value: Any) -> Any:
    """Null for what is missing, and base64 without MLflow's lines."""
    if isinstance(value, list):
        return [_plain(part) for part in value]
    if isinstance(value, dict):
        return {key: _plain(part) for key, part in value.items()}
    if isinstance(value, str):
        return None if value == "NaT" else value.replace("\n", "")
    return _finite(value)


# Where the two protocols differ for a reason.
DIFFERENT = {
    "dict with int keys": "names of outputs are text",
    "dict with numpy keys": "names of outputs are text",
    "dict with tuple keys": "names of outputs are text",
    "array of ns moments": "MLflow writes nanoseconds as numbers: here they are ISO 8601",
    "array of bytes": "MLflow's numpy.vectorize writes a text for each array",
    "time": "a list of texts, each JSON",
    "dict": "nested dicts are outputs of one element",
    "tuple": "its parts are outputs",
    "array of durations": "no datatype",
    "array of complex": "no datatype",
}


def answered_in_json(outputs: dict[str, Output]) -> dict[str, Any]:
    return {name: restored(output, False) for name, output in outputs.items()}


def answered_in_binary(outputs: dict[str, Output]) -> dict[str, Any]:
    return {name: _as_json_has_it(restored(output, True)) for name, output in outputs.items()}


def answered_by_grpc(outputs: dict[str, Output], is_raw: bool) -> dict[str, Any]:
    """As a client reads the message: from bytes if it sent bytes."""
    request = message("ModelInferRequest")()
    if is_raw:
        request.raw_input_contents.append(b"")
    response = convert.response_of(request, outputs, "m", None)
    answered = {}
    for place, tensor in enumerate(response.outputs):
        if response.raw_output_contents:
            elements = _from_raw(tensor.datatype, response.raw_output_contents[place])
        else:
            contents = getattr(tensor.contents, convert._CONTENTS[tensor.datatype])
            elements = [_finite(element) for element in contents]
        decode = _READERS.get(tensor.parameters["content_type"].string_param, lambda value: value)
        flat = [decode(element) for element in elements]
        answered[tensor.name] = _as_json_has_it(_nested(flat, list(tensor.shape)))
    return answered


def _as_json_has_it(value: Any) -> Any:
    """Bytes that are no text as base64, and floats that no JSON has as null."""
    if isinstance(value, list):
        return [_as_json_has_it(part) for part in value]
    return base64.b64encode(value).decode() if isinstance(value, bytes) else _finite(value)


ANSWERS: dict[str, Callable[[dict[str, Output]], dict[str, Any]]] = {
    "json": answered_in_json,
    "binary": answered_in_binary,
    "grpc-raw": lambda outputs: answered_by_grpc(outputs, True),
    "grpc-contents": lambda outputs: answered_by_grpc(outputs, False),
}


def _has_gaps(output: Output) -> bool:
    """Whether it says null, which bytes can't but for floats."""
    elements = _flat(restored(output, False))
    return not output.datatype.startswith("FP") and None in list(elements)


@pytest.mark.parametrize("answer", ANSWERS)
@pytest.mark.parametrize("name", [name for name in pyfuncs.RETURNS if name not in DIFFERENT])
def test_predictions_of_any_kind_mean_the_same(name: str, answer: str) -> None:
    returned = pyfuncs.RETURNS[name]
    status, expected = said_by_invocations(returned(), None)
    if status != 200 or name in ("generator", "object", "set"):
        with pytest.raises(Rejected) as rejected:
            codec.encode(returned(), codec.RequestedOutputs(), "m", None, Spec())
        assert rejected.value.error.status == 500
        return
    outputs = codec.outputs_of(returned(), codec.RequestedOutputs(), Spec())
    if answer != "json" and any(map(_has_gaps, outputs.values())):
        with pytest.raises(Rejected, match="an element is missing"):
            ANSWERS[answer](outputs)
        return
    assert ANSWERS[answer](outputs) == expected


DECIMALS: dict[str, Callable[[], Any]] = {
    "a number": lambda: decimal.Decimal("0.1"),
    "a list": lambda: [decimal.Decimal("0.1"), decimal.Decimal("NaN")],
    "a frame": lambda: pd.DataFrame({"y": [decimal.Decimal("0.1")]}),
    "in a dict": lambda: {"y": {"z": decimal.Decimal("0.1")}},
}


@pytest.mark.parametrize("name", DECIMALS)
def test_decimals_are_an_error(name: str) -> None:
    """Neither a number, which would be another, nor a text: as from MLflow."""
    status, _ = said_by_invocations(DECIMALS[name](), None)
    assert status == 500
    with pytest.raises(Rejected) as rejected:
        codec.encode(DECIMALS[name](), codec.RequestedOutputs(), "m", None, Spec())
    assert rejected.value.error.status == 500


MISSING: dict[str, Callable[[], Any]] = {
    "text": lambda: pd.DataFrame({"y": ["x", None]}),
    "text as NaN": lambda: pd.DataFrame({"y": pd.Series(["x", np.nan], dtype=object)}),
    "boolean": lambda: pd.DataFrame({"y": pd.array([True, None], dtype="boolean")}),
    "Int32": lambda: pd.DataFrame({"y": pd.array([1, None], dtype="Int32")}),
    "Float32": lambda: pd.DataFrame({"y": pd.array([0.5, None], dtype="Float32")}),
    "numbers": lambda: [1.5, None],
    "integers": lambda: [1, None],
    "a matrix": lambda: [[1, None], [2, 3]],
    "moments": lambda: pd.DataFrame({"y": pd.to_datetime(["2026-01-31T12:00:00", None])}),
    "binary": lambda: pd.DataFrame({"y": [b"\xff\x00", None]}),
    "objects": lambda: [{"a": 1.5, "b": None}, None],
    "all": lambda: pd.DataFrame({"y": pd.Series([None, None], dtype=object)}),
    "NA in objects": lambda: pd.DataFrame({"y": pd.Series([True, pd.NA], dtype=object)}),
}


@pytest.mark.parametrize("name", MISSING)
def test_missing_elements_are_null(name: str) -> None:
    outputs = codec.outputs_of(MISSING[name](), codec.RequestedOutputs(), Spec())
    (output,) = outputs.values()
    elements = list(_flat(restored(output, False)))
    assert None in elements and "NaN" not in elements and "<NA>" not in elements
    assert not any(isinstance(e, str) and e.lower() in ("nan", "nat", "none") for e in elements)
    if output.datatype.startswith("FP"):
        assert None in restored(output, True), "NaN says it"
        return
    with pytest.raises(Rejected, match="an element is missing"):
        output.to_bytes()


def _flat(value: Any) -> Iterable[Any]:
    if isinstance(value, list):
        for part in value:
            yield from _flat(part)
    else:
        yield value


DATATYPES: dict[str, tuple[Callable[[], Any], str, str | None]] = {
    "boolean": (lambda: pd.array([True, None], dtype="boolean"), "BOOL", None),
    "Int32": (lambda: pd.array([1, None], dtype="Int32"), "INT32", None),
    "Float32": (lambda: pd.array([0.5, None], dtype="Float32"), "FP32", None),
    "integers": (lambda: [1, None], "INT64", None),
    "large integers": (lambda: [2**64 - 1, 0], "UINT64", None),
    "huge integers": (lambda: [2**70, 1], "BYTES", "pd_json"),
    "numbers": (lambda: [1, 0.5, None], "FP64", None),
    "a number that no float is": (lambda: [2**53 + 1, 0.5], "BYTES", "pd_json"),
    "text beside numbers": (lambda: ["a", 1], "BYTES", "pd_json"),
    "booleans beside numbers": (lambda: [True, 2], "BYTES", "pd_json"),
    "text": (lambda: ["a", None], "BYTES", "str"),
    "bytes": (lambda: [b"\xff\x00", b"\x00"], "BYTES", "base64"),
    "moments": (lambda: [pd.Timestamp("2026-01-31"), pd.NaT], "BYTES", "datetime"),
    "lists": (lambda: [[1], [1, 2]], "BYTES", "pd_json"),
}


@pytest.mark.parametrize("name", DATATYPES)
def test_elements_that_are_alike_have_their_datatype(name: str) -> None:
    returned, datatype, content_type = DATATYPES[name]
    (output,) = codec.outputs_of(returned(), codec.RequestedOutputs(), Spec()).values()
    assert (output.datatype, output.content_type) == (datatype, content_type)


@pytest.mark.parametrize(
    ("kind", "datatype", "content_type"),
    [
        ("long", "INT64", None),
        ("string", "BYTES", "str"),
        ("binary", "BYTES", "base64"),
        ("datetime", "BYTES", "datetime"),
        (Array(DataType.double), "BYTES", "pd_json"),
    ],
)
def test_the_signature_decides_where_all_elements_are_missing(
    kind: Any, datatype: str, content_type: str | None
) -> None:
    spec = spec_of(ModelSignature(outputs=Schema([ColSpec(kind, "y")])))
    nothing = pd.DataFrame({"y": pd.Series([None], dtype=object)})
    output = codec.outputs_of(nothing, codec.RequestedOutputs(), spec)["y"]
    assert (output.datatype, output.content_type, output.to_json()) == (
        datatype,
        content_type,
        [None],
    )


@pytest.mark.parametrize("wire", ["json", "binary", "grpc-contents", "grpc-raw"])
def test_bytes_and_text_come_back_as_they_are(wire: str) -> None:
    returned = pd.DataFrame({"b": [b"\xff\x00", b""], "t": ["ü", "aGVsbG8="]})
    if wire in ("json", "binary"):
        requested = codec.RequestedOutputs(all_binary=wire == "binary")
        body, headers = codec.encode(returned, requested, "m", None, Spec())
        size = int(dict(headers).get(codec.HEADER_LENGTH, len(body)))
        outputs = json.loads(body[:size])["outputs"]
        data = [o.get("data") for o in outputs] if wire == "json" else _split(outputs, body[size:])
        content_types = [o["parameters"].get("content_type") for o in outputs]
    else:
        request = message("ModelInferRequest")()
        if wire == "grpc-raw":
            request.raw_input_contents.append(b"")
        outputs = codec.outputs_of(returned, codec.RequestedOutputs(), Spec())
        response = convert.response_of(request, outputs, "m", None)
        raw = [_from_raw("BYTES", part) for part in response.raw_output_contents]
        data = raw or [list(output.contents.bytes_contents) for output in response.outputs]
        content_types = [
            next((p.string_param for p in output.parameters.values()), None)
            for output in response.outputs
        ]
    if wire == "json":
        assert data == [[b64(b"\xff\x00"), ""], ["ü", "aGVsbG8="]]
        assert content_types == ["base64", "str"]
    else:
        assert data == [[b"\xff\x00", b""], ["ü".encode(), b"aGVsbG8="]]
        assert content_types == [None, "str"]


def _split(outputs: list[Any], tail: bytes) -> list[Any]:
    parts = []
    for output in outputs:
        size = output["parameters"]["binary_data_size"]
        parts.append(_from_raw("BYTES", tail[:size]))
        tail = tail[size:]
    return parts


def test_the_metadata_say_how_elements_are_written() -> None:
    signature = ModelSignature(inputs=Schema([case.spec for case in COLUMNS]))
    fields = [
        (case.name, field.datatype, field.content_type)
        for case, field in zip(COLUMNS, spec_of(signature).inputs, strict=True)
    ]
    assert {name: rest for name, *rest in fields} == {
        "column of boolean": ["BOOL", "pd"],
        "column of integer": ["INT32", "pd"],
        "column of long": ["INT64", "pd"],
        "column of float": ["FP32", "pd"],
        "column of double": ["FP64", "pd"],
        "column of double with a null": ["FP64", "pd"],
        "column of string": ["BYTES", "str"],
        "column of string with a null": ["BYTES", "str"],
        "column of binary": ["BYTES", "base64"],
        "column of datetime": ["BYTES", "datetime"],
        "column of datetime with a null": ["BYTES", "datetime"],
        "column of Array": ["BYTES", "pd_json"],
        "column of array of strings": ["BYTES", "pd_json"],
        "column of array of objects": ["BYTES", "pd_json"],
        "column of {age: long ": ["BYTES", "pd_json"],
        "column of Map": ["BYTES", "pd_json"],
        "column of any, all numbers": ["BYTES", "pd_json"],
        "column of Any": ["BYTES", "pd_json"],
    }
    tables = spec_of(signature).to_json()
    assert tables["parameters"] == {"content_type": "pd"}
    single = spec_of(ModelSignature(inputs=Schema([TENSORS[0].spec]))).to_json()
    assert single["parameters"] == {"content_type": "np"}
    named = TensorSpec(np.dtype("str"), (-1,), "a")
    two = spec_of(ModelSignature(inputs=Schema([named]))).to_json()
    assert two["parameters"] == {"content_type": "dict"}
    assert "parameters" not in Spec().to_json()
