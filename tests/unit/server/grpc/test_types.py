"""Types of a signature by a running server: over HTTP as JSON and binary, and over gRPC."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import Any

import grpc
import mlflow
import numpy as np
import pytest
import requests
from mlflow.models import ModelSignature
from mlflow.types import Schema
from mlflow.types.schema import ColSpec, DataType, Object, Property
from tritonclient import grpc as triton
from tritonclient import http as triton_http

from mlflow_model_server.grpc.messages import SERVICE, message
from tests.unit.server.process import Server, serving

CODE = """\
from mlflow.models import set_model
from mlflow.pyfunc import PythonModel


class Echo(PythonModel):
    def predict(self, context, model_input, params=None):
        if model_input["text"].iloc[0] == "fail":
            raise RuntimeError("only for the log")
        model_input["count"] = [len(value) for value in model_input["binary"]]
        model_input["missing"] = [None] * len(model_input)
        return model_input


set_model(Echo())
"""
SIGNATURE = ModelSignature(
    Schema(
        [
            ColSpec("string", "text"),
            ColSpec("binary", "binary"),
            ColSpec("datetime", "when"),
            ColSpec(Object([Property("age", DataType.long)]), "person"),
        ]
    )
)
# Bytes that are text, and bytes that are none.
BINARY = [b"aGVsbG8=", b"\xff\x00"]
TEXT = ["aGVsbG8=", "ü"]
WHEN = ["2026-01-31T12:00:00", "1969-12-31T23:59:59"]
PERSON = ['{"age": 1}', '{"age": 2}']
OUTPUTS = ("text", "binary", "when", "person", "count")


@pytest.fixture(scope="module")
def echo(
    tmp_path_factory: pytest.TempPathFactory, unused_tcp_port_factory: Callable[[], int]
) -> Iterator[tuple[Server, str]]:
    """A server whose model returns its columns, and its gRPC address."""
    folder = tmp_path_factory.mktemp("echo")
    (folder / "model").mkdir()
    (folder / "code.py").write_text(CODE)
    mlflow.pyfunc.save_model(
        folder / "model" / "artifact",
        python_model=folder / "code.py",
        signature=SIGNATURE,
        pip_requirements=[],
    )
    port = unused_tcp_port_factory()
    with serving(folder / "model", unused_tcp_port_factory(), GRPC_PORT=str(port)) as server:
        yield server, f"127.0.0.1:{port}"


def json_inputs() -> list[dict[str, Any]]:
    columns = {"text": TEXT, "binary": ["YUdWc2JHOD0=", "/wA="], "when": WHEN, "person": PERSON}
    return [
        {"name": name, "datatype": "BYTES", "shape": [2], "data": data}
        for name, data in columns.items()
    ]


def infer(server: Server, body: dict[str, Any]) -> requests.Response:
    return requests.post(server.url("/v2/models/mlflow-model/infer"), json=body, timeout=60)


def test_json(echo: tuple[Server, str]) -> None:
    response = infer(echo[0], {"inputs": json_inputs()})
    outputs = {output["name"]: output for output in response.json()["outputs"]}
    assert outputs["text"]["data"] == TEXT
    assert outputs["binary"]["data"] == ["YUdWc2JHOD0=", "/wA="]
    assert outputs["binary"]["parameters"] == {"content_type": "base64"}
    assert outputs["when"]["data"] == WHEN
    assert outputs["when"]["parameters"] == {"content_type": "datetime"}
    assert [json.loads(person) for person in outputs["person"]["data"]] == [{"age": 1}, {"age": 2}]
    assert outputs["count"]["data"] == [8, 2]
    assert outputs["missing"]["data"] == [None, None]


def triton_inputs(client: Any) -> list[Any]:
    texts = {"text": TEXT, "when": WHEN, "person": PERSON}
    columns = {name: [value.encode() for value in values] for name, values in texts.items()}
    inputs = []
    for name, raw in {**columns, "binary": BINARY}.items():
        tensor = client.InferInput(name, [2], "BYTES")
        tensor.set_data_from_numpy(np.array(raw, object))
        inputs.append(tensor)
    return inputs


@pytest.mark.parametrize("client", [triton, triton_http], ids=["grpc", "http"])
def test_tritons_bytes(echo: tuple[Server, str], client: Any) -> None:
    address = echo[1] if client is triton else f"127.0.0.1:{echo[0].port}"
    requested = [client.InferRequestedOutput(name) for name in OUTPUTS]
    response = client.InferenceServerClient(address).infer(
        "mlflow-model", triton_inputs(client), outputs=requested
    )
    assert response.as_numpy("binary").tolist() == BINARY
    assert [text.decode() for text in response.as_numpy("text")] == TEXT
    assert [moment.decode() for moment in response.as_numpy("when")] == WHEN
    assert response.as_numpy("count").tolist() == [8, 2]
    people = [json.loads(person) for person in response.as_numpy("person")]
    assert people == [json.loads(person) for person in PERSON]
    assert response.as_numpy("missing") is None, "nobody requested it"


def test_missing_elements_have_no_bytes(echo: tuple[Server, str]) -> None:
    with pytest.raises(Exception, match="an element is missing") as refused:
        triton.InferenceServerClient(echo[1]).infer(
            "mlflow-model",
            triton_inputs(triton),
            outputs=[triton.InferRequestedOutput("missing")],
        )
    assert "INTERNAL" in str(refused.value)
    body = {"inputs": json_inputs(), "outputs": [{"name": "missing"}]}
    response = infer(echo[0], body)
    assert response.json()["outputs"][0]["data"] == [None, None]
    body["outputs"] = [{"name": "missing", "parameters": {"binary_data": True}}]
    assert infer(echo[0], body).status_code == 500


def test_contents_beside_raw_contents_are_refused(echo: tuple[Server, str]) -> None:
    request = message("ModelInferRequest")(model_name="mlflow-model", raw_input_contents=[b""])
    request.inputs.add(name="text", datatype="BYTES", shape=[1]).contents.bytes_contents.append(
        b"x"
    )
    with grpc.insecure_channel(echo[1]) as channel, pytest.raises(grpc.RpcError) as refused:
        channel.unary_unary(f"/{SERVICE}/ModelInfer")(request.SerializeToString(), timeout=60)
    assert refused.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert "both contents and raw_input_contents" in refused.value.details()


def test_the_metadata_name_the_content_types(echo: tuple[Server, str]) -> None:
    metadata = requests.get(echo[0].url("/v2/models/mlflow-model"), timeout=60).json()
    content_types = [field["parameters"]["content_type"] for field in metadata["inputs"]]
    assert content_types == ["str", "base64", "datetime", "pd_json"]
    assert metadata["parameters"] == {"content_type": "pd"}
    described = triton.InferenceServerClient(echo[1]).get_server_metadata()
    assert list(described.extensions) == ["binary_tensor_data", "model_repository"]


def test_what_the_model_raises_is_for_the_log(echo: tuple[Server, str]) -> None:
    inputs = json_inputs()
    inputs[0]["data"] = ["fail", "x"]
    response = infer(echo[0], {"inputs": inputs})
    assert response.status_code == 400
    assert "only for the log" not in response.text
    assert "RuntimeError" in response.json()["error"]
