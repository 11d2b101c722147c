"""The Open Inference Protocol over gRPC, asked by Triton's published client over a real socket."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest
import requests
from sklearn.datasets import load_wine
from tritonclient import grpc as triton
from tritonclient.grpc import service_pb2

from mlflow_model_server.grpc.messages import SERVICE, message
from tests.unit.server import models
from tests.unit.server.process import Server, serving, wait_until

Ports = Callable[[], int]

SECONDS = 60
ROWS, _ = load_wine(return_X_y=True, as_frame=True)
INFER = f"/{SERVICE}/ModelInfer"


@pytest.fixture(scope="module")
def wine(
    tmp_path_factory: pytest.TempPathFactory, unused_tcp_port_factory: Ports
) -> Iterator[tuple[Server, str]]:
    """A server with the wine model, and its gRPC address."""
    folder = tmp_path_factory.mktemp("wine")
    models.save_wine(folder / "model" / "artifact")
    port = unused_tcp_port_factory()
    variables = {"GRPC_PORT": str(port), "MODEL_NAME": "wine", "MODEL_VERSION": "3"}
    with serving(folder / "model", unused_tcp_port_factory(), **variables) as server:
        yield server, f"127.0.0.1:{port}"


@pytest.fixture
def client(wine: tuple[Server, str]) -> Iterator[Any]:
    with triton.InferenceServerClient(wine[1]) as client:
        yield client


def columns(rows: Any = ROWS) -> list[Any]:
    """A tensor for each column."""
    inputs = []
    for name in rows.columns:
        one = triton.InferInput(name, [len(rows)], "FP64")
        one.set_data_from_numpy(rows[name].to_numpy())
        inputs.append(one)
    return inputs


def typed(rows: Any = ROWS) -> Any:
    """The same request with numbers instead of bytes, as a bare stub sends it."""
    request = message("ModelInferRequest")(model_name="wine", id="7")
    for name in rows.columns:
        one = request.inputs.add(name=name, datatype="FP64", shape=[len(rows)])
        one.contents.fp64_contents.extend(rows[name].tolist())
    return request


def ask(channel: grpc.Channel, request: Any, **more: Any) -> Any:
    call = channel.unary_unary(
        INFER,
        request_serializer=message("ModelInferRequest").SerializeToString,
        response_deserializer=message("ModelInferResponse").FromString,
    )
    return call(request, timeout=SECONDS, **more)


@pytest.mark.parametrize("name", ["ModelInferRequest", "ModelInferResponse", "InferParameter"])
def test_messages_are_those_of_the_published_client(name: str) -> None:
    theirs = getattr(service_pb2, name).DESCRIPTOR
    ours = message(name).DESCRIPTOR
    assert _wire(ours) == _wire(theirs)


def _wire(descriptor: Any) -> dict[int, Any]:
    """What decides how a message looks on the wire; names of messages do not."""
    return {
        field.number: (
            field.name,
            field.type,
            field.is_repeated,
            _wire(field.message_type) if field.message_type else None,
        )
        for field in descriptor.fields
    }


def test_health_and_metadata(client: Any) -> None:
    assert client.is_server_live() and client.is_server_ready()
    assert client.is_model_ready("wine") and client.is_model_ready("wine", "3")
    assert client.get_server_metadata().name == "mlflow-model-server"
    told = client.get_model_metadata("wine")
    assert [(one.name, one.datatype) for one in told.inputs] == [(n, "FP64") for n in ROWS.columns]
    assert list(told.versions) == ["3"]


def test_predictions_are_those_of_rest(wine: tuple[Server, str], client: Any) -> None:
    answer = wine[0].predict({"dataframe_split": ROWS.to_dict(orient="split")})
    expected = answer.json()["predictions"]
    inferred = client.infer("wine", columns(), request_id="7")
    assert inferred.as_numpy("output-1").tolist() == expected
    assert inferred.get_response().id == "7"


def test_who_sends_numbers_gets_numbers(wine: tuple[Server, str]) -> None:
    with grpc.insecure_channel(wine[1]) as channel:
        answer = ask(channel, typed(ROWS.head(2)))
    (output,) = answer.outputs
    assert (output.datatype, list(output.shape)) == ("INT64", [2])
    assert list(output.contents.int64_contents) == [0, 0]
    assert (answer.model_name, answer.model_version, answer.id) == ("wine", "3", "7")
    assert not answer.raw_output_contents


def test_many_at_once_get_their_own_answers(client: Any) -> None:
    expected = client.infer("wine", columns()).as_numpy("output-1").tolist()
    with ThreadPoolExecutor(16) as pool:
        parts = [ROWS.iloc[[i]] for i in range(len(ROWS))]
        answers = list(pool.map(lambda part: client.infer("wine", columns(part)), parts))
    assert [answer.as_numpy("output-1").tolist() for answer in answers] == [[e] for e in expected]


def _wrong_name(request: Any) -> None:
    request.model_name = "beer"


def _wrong_version(request: Any) -> None:
    request.model_version = "9"


def _too_few_bytes(request: Any) -> None:
    request.raw_input_contents.append(b"1234")


def _unknown_datatype(request: Any) -> None:
    request.inputs[0].datatype = "FP1"


def _negative_shape(request: Any) -> None:
    request.inputs[0].shape[0] = -1


def _unknown_output(request: Any) -> None:
    request.outputs.add(name="else")


def _missing_column(request: Any) -> None:
    del request.inputs[0]


@pytest.mark.parametrize(
    ("spoil", "code", "says"),
    [
        (_wrong_name, "NOT_FOUND", "there is no model 'beer' here: write 'wine'"),
        (_wrong_version, "NOT_FOUND", "there is no version '9' of 'wine' here"),
        (_too_few_bytes, "INVALID_ARGUMENT", "write one for each input, or none"),
        (
            _unknown_datatype,
            "INVALID_ARGUMENT",
            "has no datatype of the protocol: write one of BOOL",
        ),
        (_negative_shape, "INVALID_ARGUMENT", "has no shape: write a list of sizes"),
        (_unknown_output, "INVALID_ARGUMENT", "the name of outputs[0]: write one of"),
        (_missing_column, "INVALID_ARGUMENT", "Model is missing inputs ['alcohol']"),
    ],
)
def test_what_is_wrong_is_told(wine: tuple[Server, str], spoil: Any, code: str, says: str) -> None:
    request = typed(ROWS.head(1))
    spoil(request)
    with grpc.insecure_channel(wine[1]) as channel, pytest.raises(grpc.RpcError) as refused:
        ask(channel, request)
    assert refused.value.code() is grpc.StatusCode[code]
    assert says in refused.value.details()
    assert "Traceback" not in refused.value.details()


def test_limits_keys_and_counts(tmp_path: Path, unused_tcp_port_factory: Ports) -> None:
    models.save_wine(tmp_path / "model" / "artifact")
    keys = tmp_path / "keys"
    keys.write_text("team:a-secret-of-the-team\n")
    port, metrics = unused_tcp_port_factory(), unused_tcp_port_factory()
    variables = {
        "GRPC_PORT": str(port),
        "METRICS_PORT": str(metrics),
        "MODEL_NAME": "wine",
        "API_KEYS_FILE": str(keys),
        "MAX_ROWS": "10",
        "GRPC_MAX_MESSAGE_BYTES": "10000",
        "WORKERS": "2",
    }
    allowed = {"metadata": (("authorization", "Bearer a-secret-of-the-team"),)}
    with (
        serving(tmp_path / "model", unused_tcp_port_factory(), **variables),
        grpc.insecure_channel(f"127.0.0.1:{port}") as channel,
    ):
        codes = [
            _code(channel, typed(ROWS.head(1))),
            _code(channel, typed(ROWS.head(1)), **allowed),
            _code(channel, typed(ROWS.head(11)), **allowed),
            _code(channel, typed(ROWS), **allowed),
        ]
        told = requests.get(f"http://127.0.0.1:{metrics}/metrics", timeout=SECONDS).text
    assert codes == ["UNAUTHENTICATED", "OK", "RESOURCE_EXHAUSTED", "RESOURCE_EXHAUSTED"]
    counts = {
        code: line.rpartition(" ")[2]
        for code in ("401", "200", "413")
        for line in told.splitlines()
        if "requests_total{" in line and "/infer" in line and f'code="{code}"' in line
    }
    # The last was refused by gRPC itself, before it was a call.
    assert counts == {"401": "1", "200": "1", "413": "1"}


def _code(channel: grpc.Channel, request: Any, **more: Any) -> str:
    try:
        ask(channel, request, **more)
    except grpc.RpcError as refused:
        return str(refused.code().name)
    return "OK"


def test_what_is_in_flight_is_finished(tmp_path: Path, unused_tcp_port_factory: Ports) -> None:
    (tmp_path / "model").mkdir()
    models.save_from_code(tmp_path / "model" / "artifact", models.SLOW)
    port = unused_tcp_port_factory()
    variables = {"GRPC_PORT": str(port), "MODEL_NAME": "slow", "SLOW_FOLDER": str(tmp_path)}
    with (
        serving(tmp_path / "model", unused_tcp_port_factory(), **variables) as server,
        grpc.insecure_channel(f"127.0.0.1:{port}") as channel,
    ):
        request = message("ModelInferRequest")(model_name="slow")
        request.parameters["content_type"].string_param = "pd"
        request.inputs.add(name="x", datatype="INT64", shape=[1]).contents.int64_contents.append(5)
        answer = _later(ask, channel, request)
        wait_until((tmp_path / "begun").exists, "the prediction begins")
        server.terminate()
        wait_until(server.refuses_connections, "it takes nobody new")
        assert not answer.done()
        (tmp_path / "go").touch()
        assert list(answer.result(SECONDS).outputs[0].contents.int64_contents) == [5]
        assert server.ended() == 0


def _later(call: Any, *arguments: Any) -> Future[Any]:
    future: Future[Any] = Future()

    def run() -> None:
        try:
            future.set_result(call(*arguments))
        except BaseException as error:
            future.set_exception(error)

    threading.Thread(target=run, daemon=True).start()
    return future


def test_nothing_of_it_is_imported_unless_it_is_asked_for(
    tmp_path: Path, unused_tcp_port_factory: Ports
) -> None:
    models.save_wine(tmp_path / "model" / "artifact")
    with serving(tmp_path / "model", unused_tcp_port_factory()) as server:
        requests.get(server.url("/v2/models/mlflow-model"), timeout=SECONDS).raise_for_status()
        maps = Path(f"/proc/{server.process.pid}/maps").read_text()
    assert "numpy" in maps
    assert "grpc" not in maps, "gRPC's library is loaded"


def test_floats_that_are_none_go_as_they_are(wine: tuple[Server, str]) -> None:
    request = typed(ROWS.head(1))
    request.inputs[0].contents.fp64_contents[0] = np.nan
    with grpc.insecure_channel(wine[1]) as channel, pytest.raises(grpc.RpcError) as refused:
        ask(channel, request)
    assert refused.value.code() is grpc.StatusCode.INVALID_ARGUMENT
