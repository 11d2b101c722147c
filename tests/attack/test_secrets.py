"""Markers in every place of a running server that has secrets: none comes out.

Environment, mounted files, keys, headers and bodies, by HTTP and gRPC; looked for in the log with
its request log, in metrics, in answers (where a body's own text may come back to the client that
sent it), and in the termination messages of the prepare step.
"""

from __future__ import annotations

import json
import socket
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc
import pytest
import requests
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mlflow_model_server.grpc.messages import SERVICE, message
from tests.integration.control_plane import free_port
from tests.unit.server import models
from tests.unit.server.process import (
    ENTRYPOINT,
    Server,
    environment_of_server,
    serving,
    wait_until,
)

# Fails for values that it does not like, and says so, as many models do.
MODEL = """\
from mlflow.models import set_model
from mlflow.pyfunc import PythonModel


class Model(PythonModel):
    def predict(self, context, model_input, params=None):
        return [float(value) for value in model_input.iloc[:, 0]]


set_model(Model())
"""
BODY = "marker-of-body"
KEY = "marker-of-key-0123456789"
IN_ENVIRONMENT = {
    "MLFLOW_TRACKING_TOKEN": "marker-of-tracking-token",
    "MLFLOW_TRACKING_PASSWORD": "marker-of-tracking-password",
    "AWS_SECRET_ACCESS_KEY": "marker-of-storage-key",
    "AWS_SESSION_TOKEN": "marker-of-session-token",
    "INDEX_URL": "https://me:marker-of-index@packages.example.com/simple",
    "MODEL_SECRET": "marker-of-model-secret",
}
IN_HEADERS = {
    "cookie": "marker-of-cookie",
    "x-api-key": "marker-of-api-key",
    "proxy-authorization": "Basic marker-of-proxy",
    "x-forwarded-for": "marker-of-address",
    "user-agent": "marker-of-agent",
    "tracestate": "x=marker-of-tracestate",
    "baggage": "user=marker-of-baggage",
    "traceparent": "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01-marker-of-parent\xff",
    "accept": "marker-of-accept",
    "inference-header-content-length": "marker-of-length",
}
FILE = "marker-of-token-file"
MARKER = "marker-of-"


@dataclass
class Target:
    server: Server
    metrics_port: int
    grpc_port: int

    def send(
        self, method: str, path: str, headers: Sequence[tuple[str, str]], body: bytes
    ) -> bytes:
        """Head and body of the answer, to a request that is written as it is.

        Nothing if the connection is reset: the server has answered before it read all.
        """
        lines = [f"{method} {path} HTTP/1.1", "host: x", "connection: close"]
        lines += [f"{name}: {value}" for name, value in headers]
        lines.append(f"content-length: {len(body)}")
        with socket.create_connection(("127.0.0.1", self.server.port), timeout=60) as client:
            answer = b""
            with suppress(ConnectionError):
                client.sendall("\r\n".join([*lines, "", ""]).encode("latin-1") + body)
                while chunk := client.recv(65536):
                    answer += chunk
        return answer

    def metrics(self) -> str:
        return requests.get(f"http://127.0.0.1:{self.metrics_port}/metrics", timeout=60).text

    def has_logged_requests(self) -> bool:
        return '"route"' in self.log()

    def log(self) -> str:
        return self.server.output.read_text()


@pytest.fixture(scope="module")
def targets(tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[Target]]:
    """Servers of a model with a signature, and of one without."""
    folder = tmp_path_factory.mktemp("secrets")
    models.save_colours(folder / "signature" / "model" / "artifact")
    (folder / "code" / "model").mkdir(parents=True)
    models.save_from_code(folder / "code" / "model" / "artifact", MODEL)
    (folder / "keys").write_text(f"team-a:{KEY}\n")
    (folder / "token").write_text(FILE)
    variables = {
        **IN_ENVIRONMENT,
        "API_KEYS_FILE": str(folder / "keys"),
        "AWS_WEB_IDENTITY_TOKEN_FILE": str(folder / "token"),
        "MODEL_URI": "models:/wine/3",
        "REQUEST_LOG": "stdout",
        "DRIFT_BASELINE_ROWS": "100",
    }

    with ExitStack() as stack:
        targets = []
        for name in ("signature", "code"):
            metrics, grpc_ = free_port(), free_port()
            ports = {"METRICS_PORT": str(metrics), "GRPC_PORT": str(grpc_)}
            started = serving(folder / name / "model", free_port(), **variables, **ports)
            targets.append(Target(stack.enter_context(started), metrics, grpc_))
        yield targets


def json_body(content: Any) -> bytes:
    return json.dumps(content).encode()


TEXT = [BODY] * 60
SPLIT = {"columns": ["alcohol", "colour"], "data": [[12.0, BODY]] * 60}
TENSORS = [
    {"name": "alcohol", "datatype": "FP64", "shape": [60], "data": [12.0] * 60},
    {"name": "colour", "datatype": "BYTES", "shape": [60], "data": TEXT},
]
BODIES: dict[str, bytes] = {
    "good rows": json_body({"dataframe_split": SPLIT}),
    "wrong type": json_body({"dataframe_split": {**SPLIT, "data": [[BODY, BODY]] * 60}}),
    "wrong column": json_body({"dataframe_split": {"columns": [BODY], "data": [[1.0]] * 60}}),
    "more columns": json_body({"dataframe_records": [{BODY: 1, "alcohol": 1, "colour": "x"}]}),
    "many columns": json_body(
        {"dataframe_records": [{"alcohol": 1} | {f"{BODY}-{i}": 1 for i in range(5000)}]}
    ),
    "many tensors": json_body(
        {"inputs": [TENSORS[0], *({**TENSORS[0], "name": f"{BODY}-{i}"} for i in range(900))]}
    ),
    "number under a name": json_body({"dataframe_records": [{BODY: 1.0}] * 60}),
    "params": json_body({"dataframe_split": SPLIT, "params": {BODY: BODY}}),
    "unknown field": json_body({BODY: BODY}),
    "instances": json_body({"instances": [[BODY]]}),
    "no JSON": BODY.encode() + b"{",
    "cut JSON": json_body({"inputs": TEXT})[:-2],
    "bad UTF-8": b'{"inputs": ["' + BODY.encode() + b'\xff"]}',
    "CSV": b"alcohol,colour\n" + b"12.0,%s\n" % BODY.encode() * 60,
    "wrong CSV": b"%s,x\n1,2,3\n%s" % (BODY.encode(), BODY.encode()),
    "tensors": json_body({"id": BODY, "inputs": TENSORS}),
    "wrong name": json_body({"inputs": [{**TENSORS[0], "name": BODY}]}),
    "wrong datatype": json_body({"inputs": [{**TENSORS[0], "datatype": BODY}]}),
    "wrong data": json_body({"inputs": [{**TENSORS[0], "data": TEXT}]}),
    "wrong output": json_body({"inputs": TENSORS, "outputs": [{"name": BODY}]}),
    "Parquet": b"PAR1" + BODY.encode() + b"PAR1",
}
PATHS = [
    "/invocations",
    "/v2/models/wine/infer",
    "/v2/models/wine/versions/3/infer",
    f"/v2/models/{BODY}/infer",
    f"/invocations?key={BODY}",
    f"/{BODY}",
    "/v2/models/wine",
    "/openapi.json",
    "/v2",
    "/ping",
    "/version",
]
TYPES = [
    "application/json",
    "text/csv",
    "application/octet-stream",
    "application/vnd.apache.parquet",
    BODY,
    f"application/json; charset={BODY}",
]
CREDENTIALS = [
    f"Bearer {KEY}",
    f"bearer {KEY}x",
    "Bearer marker-of-wrong-key.a.b",
    "Basic marker-of-basic",
    None,
]


def secrets_in(text: str) -> set[str]:
    """The markers in a text, with some letters behind."""
    return {text[i : i + 40] for i in range(len(text)) if text.startswith(MARKER, i)}


def check_answer(answer: bytes) -> None:
    assert not answer or answer.startswith(b"HTTP/1.1 "), answer[:200]
    # Each body is the client's fault where it is wrong, and nothing else is.
    assert not answer.startswith(b"HTTP/1.1 5"), answer[:500]
    text = answer.decode("latin-1")
    assert not {marker for marker in secrets_in(text) if not marker.startswith(BODY)}


def check_outputs(targets: list[Target]) -> None:
    for target in targets:
        wait_until(target.has_logged_requests, "the request log is written")
        assert not secrets_in(target.metrics())
        assert not secrets_in(target.log())


@pytest.mark.parametrize("path", ["/invocations", "/v2/models/wine/infer"])
@pytest.mark.parametrize("name", BODIES)
def test_no_body_comes_out(targets: list[Target], name: str, path: str) -> None:
    headers = [*IN_HEADERS.items(), ("authorization", CREDENTIALS[0] or "")]
    kinds = {"CSV": "text/csv", "wrong CSV": "text/csv", "Parquet": TYPES[3]}
    headers.append(("content-type", kinds.get(name, "application/json")))
    for target in targets:
        for _ in range(2):
            check_answer(target.send("POST", path, headers, BODIES[name]))
    check_outputs(targets)


@settings(
    max_examples=60,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(
    method=st.sampled_from(["POST", "GET", "PUT", "HEAD", "marker-of-method"]),
    path=st.sampled_from(PATHS),
    credentials=st.sampled_from(CREDENTIALS),
    headers=st.dictionaries(st.sampled_from(list(IN_HEADERS)), st.just(None)),
    content_type=st.sampled_from(TYPES),
    body=st.sampled_from(list(BODIES.values())),
)
def test_no_secret_comes_out(
    targets: list[Target],
    method: str,
    path: str,
    credentials: str | None,
    headers: dict[str, None],
    content_type: str,
    body: bytes,
) -> None:
    sent = [(name, IN_HEADERS[name]) for name in headers]
    sent.append(("content-type", content_type))
    if credentials is not None:
        sent.append(("authorization", credentials))
    for target in targets:
        check_answer(target.send(method, path, sent, body))


def tensors(name: str, datatype: str = "BYTES", **fields: Any) -> bytes:
    """A message of gRPC with the body's marker, under a name of its own."""
    request = message("ModelInferRequest")(model_name="wine", id=BODY, **fields)
    number = request.inputs.add(name="alcohol", datatype="FP64", shape=[60])
    number.contents.fp64_contents.extend([12.0] * 60)
    text = request.inputs.add(name=name, datatype=datatype, shape=[60])
    text.contents.bytes_contents.extend([BODY.encode()] * 60)
    return bytes(request.SerializeToString())


def of_another_model() -> bytes:
    return bytes(message("ModelInferRequest")(model_name=BODY).SerializeToString())


MESSAGES: dict[str, bytes] = {
    "good rows": tensors("colour"),
    "wrong name": tensors(BODY),
    "wrong datatype": tensors("colour", BODY),
    "wrong number": tensors("colour", "FP64"),
    "bytes besides": tensors("colour", raw_input_contents=[BODY.encode()]),
    "wrong version": tensors("colour", model_version=BODY),
    "another model": of_another_model(),
    "no message": BODY.encode(),
}
IN_METADATA = {name: value for name, value in IN_HEADERS.items() if value.isascii()}


@pytest.mark.parametrize("credentials", CREDENTIALS)
@pytest.mark.parametrize("name", MESSAGES)
def test_no_message_comes_out(targets: list[Target], name: str, credentials: str | None) -> None:
    metadata = [(key, value) for key, value in IN_METADATA.items() if key != "user-agent"]
    if credentials is not None:
        metadata.append(("authorization", credentials))
    codes = set()
    for target in targets:
        with grpc.insecure_channel(f"127.0.0.1:{target.grpc_port}") as channel:
            for method in ("ModelInfer", "ModelReady", BODY):
                codes.add(call(channel, method, MESSAGES[name], metadata))
    assert codes <= {"OK", "INVALID_ARGUMENT", "NOT_FOUND", "UNAUTHENTICATED", "UNIMPLEMENTED"}
    assert (credentials == CREDENTIALS[0]) == ("OK" in codes) or name != "good rows"
    check_outputs(targets)


def call(
    channel: grpc.Channel, method: str, sent: bytes, metadata: Sequence[tuple[str, str]]
) -> str:
    """The code of a call; what comes back has no secret but what was in its message."""
    try:
        channel.unary_unary(f"/{SERVICE}/{method}")(sent, metadata=metadata, timeout=60)
    except grpc.RpcError as error:
        returned = f"{error.details()} {error.initial_metadata()} {error.trailing_metadata()}"
        assert not {each for each in secrets_in(returned) if not each.startswith(BODY)}
        return str(error.code().name)
    return "OK"


UNREACHABLE = "http://127.0.0.1:9"
IN_PREPARE = {
    "a registry away": {"MODEL_URI": "models:/wine/3", "MLFLOW_TRACKING_URI": UNREACHABLE},
    "a login in the registry's URL": {
        "MODEL_URI": "models:/wine/3",
        "MLFLOW_TRACKING_URI": "http://me:marker-of-tracking-uri@127.0.0.1:9",
    },
    "a storage away": {
        "MODEL_URI": "s3://models/wine",
        "AWS_ENDPOINT_URL": UNREACHABLE,
        "MLFLOW_S3_ENDPOINT_URL": UNREACHABLE,
        "AWS_ACCESS_KEY_ID": "marker-of-key-id",
    },
    "a signed URL": {"MODEL_URI": f"{UNREACHABLE}/wine?X-Amz-Signature=marker-of-signature"},
    "a login in the model's URL": {"MODEL_URI": "http://me:marker-of-uri@127.0.0.1:9/wine"},
    "an index away": {"INDEX_URL": "http://me:marker-of-index@127.0.0.1:9/simple"},
    "a package with a secret": {"INDEX_URL": "", "REQUIREMENTS_ENV": "MODEL_SECRET"},
}
# Why it ends, by the scheme of the model's URI.
REASONS = {
    "models": "ArtifactServerUnreachable",
    "s3": "ArtifactServerUnreachable",
    "http": "ArtifactUnreadable",
    "file": "DependencyInstallFailed",
}


@pytest.mark.parametrize("name", IN_PREPARE)
def test_no_termination_message_has_a_secret(name: str, tmp_path: Path) -> None:
    variables = {**IN_ENVIRONMENT, **IN_PREPARE[name]}
    if "MODEL_URI" not in variables:
        models.save_wine(tmp_path / "saved")
        login = "" if variables["INDEX_URL"] else " @ http://me:${MODEL_SECRET}@127.0.0.1:9/a.whl"
        (tmp_path / "saved" / "requirements.txt").write_text(f"absent-package{login}\n")
        variables["MODEL_URI"] = f"file:{tmp_path / 'saved'}"
    environment = environment_of_server(
        MODEL_DIR=str(tmp_path / "model"),
        TERMINATION_LOG=str(tmp_path / "log"),
        MLFLOW_HTTP_REQUEST_MAX_RETRIES="0",
        AWS_MAX_ATTEMPTS="1",
        UV_HTTP_RETRIES="0",
        **variables,
    )
    ended = subprocess.run(
        [sys.executable, str(ENTRYPOINT), "prepare"],
        env=environment,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    message_ = (tmp_path / "log").read_text()
    assert ended.returncode == 1
    assert json.loads(message_)["reason"] == REASONS[variables["MODEL_URI"].partition(":")[0]]
    assert not secrets_in(message_)
    assert not secrets_in(ended.stdout + ended.stderr)


def test_after_all_nothing_is_in_logs_and_metrics(targets: list[Target]) -> None:
    check_outputs(targets)
    for target in targets:
        assert "team-a" in target.log(), "callers are logged by their names"
        for line in target.log().splitlines():
            assert len(line) < 64 * 1024
    assert 'bin="(-inf,' in targets[0].metrics(), "drift is measured"
