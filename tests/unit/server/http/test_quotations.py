"""What clients send by the Open Inference Protocol comes back in no error: over HTTP and gRPC."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import grpc
import pytest
import requests
from sklearn.datasets import load_wine

from mlflow_model_server.grpc.messages import SERVICE, message
from mlflow_model_server.responses import MAX_MESSAGE
from tests.unit.server import models
from tests.unit.server.process import Server, serving

SECONDS = 60
MARKER = "4111-secret-1111"
Json = dict[str, Any]
Ports = Callable[[], int]


@pytest.fixture(scope="module")
def wine(
    tmp_path_factory: pytest.TempPathFactory, unused_tcp_port_factory: Ports
) -> Iterator[tuple[Server, grpc.Channel]]:
    folder = tmp_path_factory.mktemp("wine") / "model"
    models.save_wine(folder / "artifact")
    port = unused_tcp_port_factory()
    with (
        serving(folder, unused_tcp_port_factory(), GRPC_PORT=str(port)) as server,
        grpc.insecure_channel(f"127.0.0.1:{port}") as channel,
    ):
        yield server, channel


def tensor(name: str = "alcohol", **more: Any) -> Json:
    return {"name": name, "datatype": "FP64", "shape": [1], "data": [1.0], **more}


BODIES: dict[str, Json] = {
    "an input's name": {"inputs": [tensor(MARKER, data=[1.0, 2.0])]},
    "an input's name, without elements": {"inputs": [tensor(MARKER, shape=[])]},
    "an input's name, again": {"inputs": [tensor(MARKER), tensor(MARKER)]},
    "an input's name, as a column": {"inputs": [tensor(MARKER)]},
    "a table's name": {"inputs": [tensor(MARKER, shape=[1, 2], data=[1.0, 2.0])]},
    "a datatype": {"inputs": [tensor(datatype=MARKER)]},
    "an input's content_type": {"inputs": [tensor(parameters={"content_type": MARKER})]},
    "the request's content_type": {
        "inputs": [tensor()],
        "parameters": {"content_type": MARKER},
    },
    "a size": {"inputs": [tensor(parameters={"binary_data_size": MARKER})]},
    "a parameter": {"inputs": [tensor(parameters={MARKER: MARKER}, shape=[])]},
    "an element": {"inputs": [tensor(datatype="BYTES", data=[MARKER])]},
    "an element that is no JSON": {
        "inputs": [tensor(datatype="BYTES", data=[MARKER], parameters={"content_type": "pd_json"})]
    },
    "an element that is no base64": {
        "inputs": [tensor(datatype="BYTES", data=[MARKER], parameters={"content_type": "base64"})]
    },
    "an element that is no time": {
        "inputs": [tensor(datatype="BYTES", data=[MARKER], parameters={"content_type": "datetime"})]
    },
    "the id": {"inputs": [tensor()], "id": MARKER},
}
IN_JSON_ONLY: dict[str, Json] = {
    "the parameters": {"inputs": [tensor(parameters=MARKER)]},
    "all parameters": {"inputs": [tensor()], "parameters": MARKER},
    "the name of an output with wrong parameters": {
        "inputs": [tensor()],
        "outputs": [{"name": MARKER, "parameters": 1}],
    },
    "the inputs": {"inputs": MARKER},
    "an input": {"inputs": [MARKER]},
    "the shape": {"inputs": [tensor(shape=MARKER)]},
    "the data": {"inputs": [tensor(data=MARKER)]},
    "a field": {MARKER: MARKER},
}
# Of a whole request: only what is predicted has outputs.
COLUMNS = [tensor(name) for name in load_wine().feature_names]
AN_OUTPUT: dict[str, Json] = {
    "an output's name": {"inputs": COLUMNS, "outputs": [{"name": MARKER}]},
}


@pytest.mark.parametrize("case", [*BODIES, *IN_JSON_ONLY, *AN_OUTPUT])
def test_no_error_over_http_repeats_what_was_sent(
    wine: tuple[Server, grpc.Channel], case: str
) -> None:
    body = {**BODIES, **IN_JSON_ONLY, **AN_OUTPUT}[case]
    url = wine[0].url("/v2/models/mlflow-model/infer")
    for size in (1, 10_000):
        answer = requests.post(url, json=_grown(body, size), timeout=SECONDS)
        assert 400 <= answer.status_code < 500, answer.text
        assert MARKER not in answer.text
        assert len(answer.content) <= MAX_MESSAGE + 20, "with the field of the JSON"


@pytest.mark.parametrize("case", [*BODIES, *AN_OUTPUT])
def test_no_error_over_grpc_repeats_what_was_sent(
    wine: tuple[Server, grpc.Channel], case: str
) -> None:
    for size in (1, 10_000):
        with pytest.raises(grpc.RpcError) as refused:
            _call(wine[1], _grown({**BODIES, **AN_OUTPUT}[case], size))
        assert refused.value.code() is grpc.StatusCode.INVALID_ARGUMENT
        assert MARKER not in refused.value.details()
        assert len(refused.value.details().encode()) <= MAX_MESSAGE


def test_names_of_the_signature_help(wine: tuple[Server, grpc.Channel]) -> None:
    url = wine[0].url("/v2/models/mlflow-model/infer")
    body = {"inputs": [tensor("x"), tensor("alcohol", shape=[2])]}
    answer = requests.post(url, json=body, timeout=SECONDS)
    assert answer.json()["error"].startswith("input 'alcohol' has 1 elements in data")
    answer = requests.post(url, json={"inputs": [tensor("x", shape=[2])]}, timeout=SECONDS)
    assert answer.json()["error"].startswith("inputs[0] has 1 elements in data")


def _grown(value: Any, size: int) -> Any:
    """The same with a longer marker."""
    if isinstance(value, dict):
        return {_grown(key, size): _grown(item, size) for key, item in value.items()}
    if isinstance(value, list):
        return [_grown(item, size) for item in value]
    return MARKER * size if value == MARKER else value


def _call(channel: grpc.Channel, body: Json) -> None:
    request = message("ModelInferRequest")(model_name="mlflow-model", id=body.get("id", ""))
    _set(request.parameters, body.get("parameters", {}))
    for described in body["inputs"]:
        sent = request.inputs.add(
            name=described["name"], datatype=described["datatype"], shape=described["shape"]
        )
        _set(sent.parameters, described.get("parameters", {}))
        for element in described["data"]:
            if isinstance(element, str):
                sent.contents.bytes_contents.append(element.encode())
            else:
                sent.contents.fp64_contents.append(element)
    for output in body.get("outputs", ()):
        request.outputs.add(name=output["name"])
    channel.unary_unary(f"/{SERVICE}/ModelInfer")(request.SerializeToString(), timeout=SECONDS)


def _set(parameters: Any, values: Json) -> None:
    for name, value in values.items():
        parameters[name].string_param = value
