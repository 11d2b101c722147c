"""The Open Inference Protocol: bodies to data and back."""

from __future__ import annotations

import json
import math
from typing import Any

import mlflow
import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as st_numpy
from mlflow.types import ParamSchema, ParamSpec, Schema, TensorSpec
from mlflow.types.schema import ColSpec

from mlflow_model_server.codecs import openinference as codec
from mlflow_model_server.codecs import tensors
from mlflow_model_server.codecs.errors import BadRequest
from mlflow_model_server.codecs.metadata import Spec, spec_of
from mlflow_model_server.codecs.openinference import RequestedOutputs
from mlflow_model_server.codecs.tensors import DTYPES

WINE = mlflow.models.ModelSignature(
    inputs=Schema([ColSpec("double", "alcohol"), ColSpec("double", "ash")]),
    outputs=Schema([ColSpec("long", "class")]),
    params=ParamSchema([ParamSpec("scale", "double", 1.0)]),
)
MIXED = mlflow.models.ModelSignature(
    inputs=Schema([ColSpec("double", "alcohol"), ColSpec("string", "colour")])
)
IMAGES = mlflow.models.ModelSignature(
    inputs=Schema([TensorSpec(np.dtype("float32"), (-1, 2, 2))]),
    outputs=Schema([TensorSpec(np.dtype("float32"), (-1, 3))]),
)
ALL = RequestedOutputs()
TWO = mlflow.models.ModelSignature(
    inputs=Schema(
        [
            TensorSpec(np.dtype("int64"), (-1, 4), "ids"),
            TensorSpec(np.dtype("int64"), (-1, 4), "mask"),
        ]
    )
)


def tensor(
    name: str, datatype: str, shape: list[int], data: Any, **parameters: Any
) -> dict[str, Any]:
    described = {"name": name, "datatype": datatype, "shape": shape, "data": data}
    return {**described, "parameters": parameters} if parameters else described


def decoded(signature: Any, *inputs: dict[str, Any], **more: Any) -> codec.Inference:
    body = json.dumps({"inputs": inputs, **more}).encode()
    return codec.decode(body, {}, spec_of(signature))


def test_a_tensor_of_all_columns() -> None:
    data = decoded(WINE, tensor("x", "FP64", [2, 2], [[1, 2], [3, 4]])).data
    assert data.tolist() == [[1, 2], [3, 4]] and data.dtype == np.float64


def test_a_tensor_for_each_column_in_any_order() -> None:
    data = decoded(
        WINE, tensor("ash", "FP64", [2], [2, 4]), tensor("alcohol", "FP64", [2, 1], [1, 3])
    ).data
    assert data.tolist() == [[1, 2], [3, 4]], "in the order of the signature"


@pytest.mark.parametrize("parameters", [{}, {"content_type": "np"}, {"content_type": "dict"}])
@pytest.mark.parametrize("name", ["image", "input", "input-1"])
def test_the_only_tensor_has_any_name(name: str, parameters: dict[str, str]) -> None:
    signature = mlflow.models.ModelSignature(
        Schema([TensorSpec(np.dtype("float32"), (-1, 2), "image")])
    )
    sent = tensor(name, "FP32", [1, 2], [1, 2])
    data = decoded(signature, sent, parameters=parameters).data
    assert data.keys() == {"image"}, "the model gets it by the signature's name"
    assert data["image"].tolist() == [[1, 2]]


def test_columns_of_several_types_are_a_frame() -> None:
    data = decoded(
        MIXED,
        tensor("alcohol", "FP32", [2], [1.5, None]),
        tensor("colour", "BYTES", [2], ["red", None]),
    ).data
    assert isinstance(data, pd.DataFrame)
    assert list(data.columns) == ["alcohol", "colour"]
    assert data["colour"].tolist()[0] == "red" and data["colour"].isna().tolist() == [False, True]
    assert math.isnan(data["alcohol"][1])


def test_an_image_is_an_array_and_two_tensors_go_by_name() -> None:
    image = decoded(IMAGES, tensor("anything", "FP32", [1, 2, 2], [1, 2, 3, 4])).data
    assert image.shape == (1, 2, 2) and image.dtype == np.float32
    two = decoded(
        TWO, tensor("ids", "INT64", [1, 4], [1, 2, 3, 4]), tensor("mask", "INT64", [1, 4], [1] * 4)
    ).data
    assert list(two) == ["ids", "mask"] and two["ids"].shape == (1, 4)


def test_the_content_type_decides_where_it_is_given() -> None:
    x = tensor("a", "FP64", [2], [1, 2])
    assert isinstance(decoded(None, x).data, np.ndarray)
    assert isinstance(decoded(None, x, parameters={"content_type": "pd"}).data, pd.DataFrame)
    whole = tensor("x", "FP64", [1, 2], [1, 2], content_type="np")
    assert isinstance(decoded(MIXED, whole).data, np.ndarray)
    encoded = tensor("x", "BYTES", [1], ["aGk="], content_type="base64")
    assert decoded(None, encoded).data.tolist() == [b"hi"]


def test_only_parameters_that_the_model_has_become_params() -> None:
    inference = decoded(
        WINE,
        tensor("x", "FP64", [1, 2], [1, 2]),
        parameters={"scale": 2.0, "headers": {}, "content_type": "np"},
        id="7",
    )
    assert (inference.params, inference.requested.id) == ({"scale": 2.0}, "7")


@pytest.mark.parametrize(
    ("body", "sentence"),
    [
        ("", "the body is not JSON"),
        ("[]", "the body is not JSON object"),
        ('{"inputs": [NaN]}', "the body is not JSON"),
        ("{}", "the request has no inputs"),
        ('{"inputs": []}', "the request has no inputs"),
        ('{"inputs": {}}', "the request has no inputs"),
        ('{"inputs": [1]}', r"inputs\[0\] has no name"),
        ('{"inputs": [{"name": 1}]}', r"inputs\[0\] has no name"),
        (
            '{"inputs": [{"name": "x"}]}',
            r"\[0\] has no datatype of the protocol: write one of BOOL",
        ),
        ('{"inputs": [{"name": "x", "datatype": []}]}', "has no datatype of the protocol"),
        ('{"inputs": [{"name": "x", "datatype": "FP64"}]}', "no shape: write a list of sizes"),
        *(
            (f'{{"inputs": [{{"name": "x", "datatype": "FP64", "shape": {shape}}}]}}', sentence)
            for shape, sentence in (
                ("[-1]", "no shape"),
                ("[true]", "no shape"),
                ("[1.0]", "no shape"),
                ("[]", "no shape"),
                ("[9999999999999, 0]", "only the first size may be 0"),
                ("[0, 9999999999999]", "only the first size may be 0"),
                ("[1]", "has data that is not a list"),
            )
        ),
    ],
)
def test_a_body_that_is_not_a_request_is_refused(body: str, sentence: str) -> None:
    with pytest.raises(BadRequest, match=sentence):
        codec.decode(body.encode(), {}, Spec())


@pytest.mark.parametrize(
    ("datatype", "shape", "data", "sentence"),
    [
        ("FP64", [2], [1], "has 1 elements in data, but its shape has 2"),
        ("FP64", [2, 1], [[1], 2], "mixes lists and elements"),
        ("FP64", [1], ["1"], "not all of its elements are numbers"),
        ("FP64", [1], [True], "not all of its elements are numbers"),
        ("FP64", [1], [{}], "not all of its elements are numbers"),
        ("FP16", [1], [1e6], "too large for FP16"),
        ("INT64", [1], [1.5], "not all of its elements are integers"),
        ("INT8", [1], [300], "too large for INT8"),
        ("UINT8", [1], [-1], "too large for UINT8"),
        ("INT64", [1], [2**63], "too large for INT64"),
        ("BOOL", [1], [2], "not all of its elements are true or false"),
        ("BYTES", [1], [1], "not all of its elements are strings"),
    ],
)
def test_data_that_are_not_of_their_datatype_are_refused(
    datatype: str, shape: list[int], data: Any, sentence: str
) -> None:
    with pytest.raises(BadRequest, match=sentence):
        decoded(None, tensor("x", datatype, shape, data))


@pytest.mark.parametrize(
    ("inputs", "more", "sentence"),
    [
        (
            [tensor("x", "FP64", [1], [1])] * 2,
            {},
            r"inputs\[1\] has the name of an input before it",
        ),
        ([tensor("x", "FP64", [1, 3], [1, 2, 3])], {}, "write its shape as .rows, 2."),
        (
            [tensor("ash", "FP64", [1], [1]), tensor("alcohol", "FP64", [2], [1, 2])],
            {},
            "different numbers of rows",
        ),
        (
            [tensor("x", "FP64", [1], [1], content_type="xml")],
            {},
            r"content_type of inputs\[0\] is",
        ),
        ([tensor("x", "FP64", [1], [1], content_type=[1])], {}, r"content_type of inputs\[0\] is"),
        (
            [tensor("x", "BYTES", [1], ["?"], content_type="base64")],
            {},
            "elements that are not base64",
        ),
        ([tensor("x", "FP64", [1], [1])], {"parameters": 3}, "parameters of the request"),
        ([tensor("x", "FP64", [1, 2], [1, 2])], {"id": 3}, "the id is not a string"),
        ([tensor("x", "FP64", [1, 2], [1, 2])], {"outputs": 3}, "outputs is not a list"),
        ([tensor("x", "FP64", [1, 2], [1, 2])], {"outputs": [3]}, "an output has no name"),
        (
            [tensor("x", "FP64", [1], None, binary_data_size=8)],
            {},
            "does not fit the 0 bytes that are left",
        ),
    ],
)
def test_requests_that_do_not_fit_are_refused(
    inputs: list[dict[str, Any]], more: dict[str, Any], sentence: str
) -> None:
    with pytest.raises(BadRequest, match=sentence):
        decoded(WINE, *inputs, **more)


def test_numbers_as_clients_made_from_the_description_write_them() -> None:
    whole = decoded(None, tensor("x", "INT32", [3], [1.0, -2.0, 3])).data
    assert whole.dtype == np.int32 and whole.tolist() == [1, -2, 3]
    flags = decoded(None, tensor("x", "BOOL", [4], [1.0, 0, 1, True])).data
    assert flags.dtype == np.bool_ and flags.tolist() == [True, False, True, True]


@pytest.mark.parametrize("outputs", [{}, "", 0, False])
def test_outputs_that_are_no_list_are_refused(outputs: Any) -> None:
    with pytest.raises(BadRequest, match="outputs is not a list"):
        decoded(WINE, tensor("x", "FP64", [1, 2], [1, 2]), outputs=outputs)


ARRAYS = st.sampled_from([dtype for name, dtype in DTYPES.items() if name != "BYTES"]).flatmap(
    lambda dtype: st_numpy.arrays(
        dtype,
        st_numpy.array_shapes(min_dims=1, max_dims=3, min_side=1, max_side=4),
        elements={"allow_nan": False, "allow_infinity": False} if dtype.kind == "f" else None,
    )
)


@given(ARRAYS)
def test_arrays_of_any_datatype_go_both_ways(array: tensors.Array) -> None:
    datatype, shape = tensors.datatype_of(array.dtype), list(array.shape)
    data = json.loads(json.dumps(tensors.to_json(array)))
    for back in (
        tensors.from_json("x", datatype, shape, data),
        tensors.from_bytes("x", datatype, shape, tensors.to_bytes(array)),
    ):
        assert back.dtype == array.dtype
        np.testing.assert_array_equal(back, array)


@given(st.lists(st.text(st.characters(codec="utf-8")), min_size=1))
def test_texts_go_both_ways(values: list[str]) -> None:
    array = tensors.of_objects(values)
    shape = [len(values)]
    assert tensors.from_json("x", "BYTES", shape, tensors.to_json(array)).tolist() == values
    assert tensors.from_bytes("x", "BYTES", shape, tensors.to_bytes(array)).tolist() == values


def test_numbers_that_json_lacks_are_null() -> None:
    assert tensors.to_json(np.array([1.5, np.nan, np.inf])) == [1.5, None, None]


def answer_of(
    predictions: Any, requested: RequestedOutputs = ALL, signature: Any = None
) -> dict[str, Any]:
    body, _ = codec.encode(predictions, requested, "wine", "3", spec_of(signature))
    response: dict[str, Any] = json.loads(body)
    return response


@pytest.mark.parametrize(
    ("predictions", "outputs"),
    [
        (np.array([1, 2]), [("output-1", "INT64", [2], [1, 2])]),
        (np.array([[1, 2]], np.float32), [("output-1", "FP32", [1, 2], [1, 2])]),
        ([1.5, 2], [("output-1", "FP64", [2], [1.5, 2])]),
        (["a", None], [("output-1", "BYTES", [2], ["a", None])]),
        ("text", [("output-1", "BYTES", [1], ["text"])]),
        (pd.Series([True]), [("output-1", "BOOL", [1], [True])]),
        (
            pd.DataFrame({"class": [1], "name": ["barolo"]}),
            [("class", "INT64", [1], [1]), ("name", "BYTES", [1], ["barolo"])],
        ),
        ({"y": np.array([1.0])}, [("y", "FP64", [1], [1.0])]),
        ((np.array([1]), [2.0]), [("output-1", "INT64", [1], [1]), ("output-2", "FP64", [1], [2])]),
        ([{"a": 1}], [("output-1", "BYTES", [1], ['{"a": 1}'])]),
        ([[1], [1, 2]], [("output-1", "BYTES", [2], ["[1]", "[1, 2]"])]),
        (
            pd.to_datetime(pd.Series(["2026-01-02"])),
            [("output-1", "BYTES", [1], ["2026-01-02T00:00:00"])],
        ),
    ],
    ids=str,
)
def test_predictions_of_any_kind_are_tensors(predictions: Any, outputs: list[Any]) -> None:
    described = answer_of(predictions)["outputs"]
    assert [(o["name"], o["datatype"], o["shape"], o["data"]) for o in described] == outputs


def test_a_response_has_the_requested_outputs() -> None:
    response = answer_of(np.array([1]), RequestedOutputs(id="7"), WINE)
    assert (response["model_name"], response["model_version"], response["id"]) == ("wine", "3", "7")
    assert response["outputs"][0]["name"] == "class", "as in the signature"
    chosen = answer_of({"a": [1], "b": [2]}, RequestedOutputs(outputs=("b",)))
    assert [output["name"] for output in chosen["outputs"]] == ["b"]
    with pytest.raises(BadRequest, match=r"the name of outputs\[1\]: leave outputs out"):
        answer_of({"a": [1], "b": [2]}, RequestedOutputs(outputs=("a", "c")))
    with pytest.raises(BadRequest, match=r"the name of outputs\[0\]: write one of \['class'\]"):
        answer_of(np.array([1]), RequestedOutputs(outputs=("c",)), WINE)


def test_tensors_may_be_bytes_behind_the_json() -> None:
    head = json.dumps(
        {
            "inputs": [
                {
                    "name": name,
                    "datatype": "FP64",
                    "shape": [2],
                    "parameters": {"binary_data_size": 16},
                }
                for name in ("alcohol", "ash")
            ],
            "outputs": [{"name": "class", "parameters": {"binary_data": True}}],
        }
    ).encode()
    body = head + np.array([1.0, 2]).tobytes() + np.array([3.0, 4]).tobytes()
    length = {codec.HEADER_LENGTH: str(len(head)).encode()}
    inference = codec.decode(body, length, spec_of(WINE))
    assert inference.data.tolist() == [[1, 3], [2, 4]]

    answer, headers = codec.encode(
        np.array([5, 6]), inference.requested, "wine", None, spec_of(WINE)
    )
    size = int(dict(headers)[codec.HEADER_LENGTH])
    assert json.loads(answer[:size])["outputs"][0]["parameters"] == {"binary_data_size": 16}
    assert np.frombuffer(answer[size:], np.int64).tolist() == [5, 6]

    for wrong in (b"-1", b"x", b"99999"):
        with pytest.raises(BadRequest, match="Inference-Header-Content-Length is not"):
            codec.decode(body, {codec.HEADER_LENGTH: wrong}, spec_of(WINE))
    with pytest.raises(BadRequest, match="2 bytes follow the last input"):
        codec.decode(body + b"xx", length, spec_of(WINE))


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner),
    max_leaves=12,
)
INPUT = st.fixed_dictionaries(
    {
        "name": st.sampled_from(["alcohol", "ash", "x"]) | JSON,
        "datatype": st.sampled_from(list(DTYPES)) | JSON,
        "shape": st.lists(st.integers(-1, 3), max_size=3) | JSON,
        "data": st.lists(st.integers() | st.floats() | st.text(max_size=3), max_size=6) | JSON,
    },
    optional={
        "parameters": st.fixed_dictionaries(
            {}, optional={"binary_data_size": st.integers(-1, 20), "content_type": JSON}
        )
        | JSON
    },
)
REQUEST = st.fixed_dictionaries(
    {"inputs": st.lists(INPUT, max_size=3)},
    optional={"id": JSON, "outputs": JSON, "parameters": JSON},
)


@settings(max_examples=400)
@given(REQUEST, st.binary(max_size=30), st.sampled_from([None, WINE, MIXED, IMAGES, TWO]))
def test_any_body_is_decoded_or_refused(document: Any, tail: bytes, signature: Any) -> None:
    head = json.dumps(document).encode()
    try:
        length = {codec.HEADER_LENGTH: str(len(head)).encode()}
        inference = codec.decode(head + tail, length if tail else {}, spec_of(signature))
    except BadRequest as error:
        assert str(error)
    else:
        assert inference.data is not None
