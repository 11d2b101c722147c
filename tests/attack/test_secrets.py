"""Markers in every place of a running server that has secrets: none comes out.

Environment, mounted files, keys, headers and bodies; looked for in the log with its request log, in
metrics, and in answers (where a body's own text may come back to the client that sent it).
"""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import pytest
import requests
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.integration.control_plane import free_port
from tests.unit.server import models
from tests.unit.server.process import Server, serving, wait_until

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

    def start(name: str) -> Any:
        port = free_port()
        ports = {"METRICS_PORT": str(port)}
        return serving(folder / name / "model", free_port(), **variables, **ports), port

    (signature, signature_metrics), (code, code_metrics) = start("signature"), start("code")
    with signature as first, code as second:
        yield [Target(first, signature_metrics), Target(second, code_metrics)]


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


def test_after_all_nothing_is_in_logs_and_metrics(targets: list[Target]) -> None:
    check_outputs(targets)
    for target in targets:
        assert "team-a" in target.log(), "callers are logged by their names"
        for line in target.log().splitlines():
            assert len(line) < 64 * 1024
    assert 'bin="(-inf,' in targets[0].metrics(), "drift is measured"
