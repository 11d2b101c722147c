"""A server with models that fail, wait and hang: what it answers, counts and logs, and goes on."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import grpc
import mlflow
import pandas as pd
import pytest
import requests
from mlflow.models import infer_signature
from sklearn.base import BaseEstimator, TransformerMixin
from sklearn.linear_model import LinearRegression
from sklearn.pipeline import make_pipeline

from mlflow_model_operator.api.contract import LIVENESS_PATH, READINESS_PATH
from mlflow_model_server.grpc.messages import SERVICE, message
from tests.unit.server import models
from tests.unit.server.process import Server, serving, wait_until

Ports = Callable[[], int]
SECONDS = 60

RAISES = """\
import asyncio
from mlflow.models import set_model
from mlflow.pyfunc import PythonModel


class PanicException(BaseException):
    "As extensions in Rust raise it."


KINDS = {
    "exit": SystemExit("leaving"),
    "interrupt": KeyboardInterrupt(),
    "generator": GeneratorExit(),
    "cancelled": asyncio.CancelledError(),
    "panic": PanicException("called `Option::unwrap()` on a `None` value"),
    "stop": StopIteration(1),
    "timeout": TimeoutError("of the model's own"),
    "value": ValueError("an ordinary one"),
}


class Raises(PythonModel):
    def predict(self, context, model_input, params=None):
        kind = model_input["kind"].iloc[0]
        if kind in KINDS:
            raise KINDS[kind]
        return [kind]


set_model(Raises())
"""
NO_EXCEPTIONS = {"exit", "interrupt", "generator", "cancelled", "panic"}
KINDS = [*sorted(NO_EXCEPTIONS), "stop", "timeout", "value"]


def invoked(server: Server, kind: str) -> requests.Response:
    rows = {"dataframe_split": {"columns": ["kind"], "data": [[kind]]}}
    return server.predict(rows)


def inferred(server: Server, kind: str) -> requests.Response:
    column = {"name": "kind", "shape": [1], "datatype": "BYTES", "data": [kind]}
    body = {"inputs": [column], "parameters": {"content_type": "pd"}}
    url = server.url("/v2/models/mlflow-model/infer")
    return requests.post(url, json=body, timeout=SECONDS)


def called(channel: grpc.Channel, kind: str) -> str:
    """The code of a gRPC call's response."""
    sent = message("ModelInferRequest")(model_name="mlflow-model")
    sent.parameters["content_type"].string_param = "pd"
    one = sent.inputs.add(name="kind", datatype="BYTES", shape=[1])
    one.contents.bytes_contents.append(kind.encode())
    try:
        channel.unary_unary(f"/{SERVICE}/ModelInfer")(sent.SerializeToString(), timeout=SECONDS)
    except grpc.RpcError as error:
        return str(error.code().name)
    return "OK"


def test_whatever_a_model_raises_is_answered_counted_and_logged(
    tmp_path: Path, unused_tcp_port_factory: Ports
) -> None:
    (tmp_path / "model").mkdir()
    models.save_from_code(tmp_path / "model" / "artifact", RAISES)
    port, metrics, log = unused_tcp_port_factory(), unused_tcp_port_factory(), tmp_path / "log"
    variables = {"GRPC_PORT": str(port), "METRICS_PORT": str(metrics), "REQUEST_LOG": str(log)}
    timeout = {"MLFLOW_SCORING_SERVER_REQUEST_TIMEOUT": "10"}
    asked = 0
    with (
        serving(tmp_path / "model", unused_tcp_port_factory(), **variables, **timeout) as server,
        grpc.insecure_channel(f"127.0.0.1:{port}") as channel,
    ):
        for kind in KINDS:
            started = time.monotonic()
            refused = invoked(server, kind)
            assert {"error_code", "message"} <= refused.json().keys()
            by_v2, by_grpc = inferred(server, kind), called(channel, kind)
            assert time.monotonic() - started < 8, f"{kind}: one waited for the timeout"
            if kind in NO_EXCEPTIONS:
                assert (refused.status_code, by_v2.status_code, by_grpc) == (500, 500, "INTERNAL")
            else:
                assert refused.status_code >= 400 and by_v2.status_code >= 400
                assert 504 not in (refused.status_code, by_v2.status_code), kind
                assert by_grpc != "OK"
            assert invoked(server, "good").json() == {"predictions": ["good"]}, f"after {kind}"
            assert inferred(server, "good").json()["outputs"][0]["data"] == ["good"]
            assert called(channel, "good") == "OK"
            asked += 6
        text = requests.get(f"http://127.0.0.1:{metrics}/metrics", timeout=SECONDS).text
        counted = re.findall(
            r'requests_total{.*route="/(?:inv|v2/models/{model}/inf).* (\d+)', text
        )
        assert sum(map(int, counted)) == asked
        assert "requests_in_flight" in text
        assert re.search(r"requests_in_flight{.*} 0\b", text)
        wait_until(lambda: log.read_text().count("\n") == asked, "all are logged")
    codes = [json.loads(line)["code"] for line in log.read_text().splitlines()]
    assert codes.count(200) == 3 * len(KINDS)
    assert codes.count(500) >= 3 * len(NO_EXCEPTIONS)


class Waits(TransformerMixin, BaseEstimator):
    """A step as users write them: it asks some service, which is slow for negative numbers."""

    def fit(self, X: Any, y: Any = None) -> Waits:
        return self

    def transform(self, X: Any) -> Any:
        import time

        if (X["x"] < 0).any():
            time.sleep(float(-X["x"].min()))
        if (X["x"] > 1e6).any():
            raise SystemExit("leaving")
        return X


@pytest.fixture(scope="module")
def pipeline(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model folder, with a pipeline that has a step of the user's own."""
    import sys

    import cloudpickle

    cloudpickle.register_pickle_by_value(sys.modules[__name__])
    folder = tmp_path_factory.mktemp("pipeline") / "model"
    frame = pd.DataFrame({"x": [1.0, 2.0, 3.0]})
    fitted = make_pipeline(Waits(), LinearRegression()).fit(frame, frame["x"])
    mlflow.sklearn.save_model(
        fitted,
        folder / "artifact",
        signature=infer_signature(frame, fitted.predict(frame)),
        serialization_format="cloudpickle",
        pip_requirements=[],
    )
    return folder


def rows(x: float) -> dict[str, Any]:
    return {"dataframe_split": {"columns": ["x"], "data": [[x]]}}


def column(x: float) -> dict[str, Any]:
    return {"inputs": [{"name": "x", "shape": [1], "datatype": "FP64", "data": [x]}]}


def test_users_code_keeps_nobody_else_waiting(pipeline: Path, unused_tcp_port: int) -> None:
    timeout = {"MLFLOW_SCORING_SERVER_REQUEST_TIMEOUT": "2"}
    with serving(pipeline, unused_tcp_port, **timeout) as server, ThreadPoolExecutor(1) as clients:
        for _ in range(30):  # it has been quick for a long time
            assert server.predict(rows(1)).ok
        slow = clients.submit(server.predict, rows(-6))
        time.sleep(0.5)
        started = time.monotonic()
        assert requests.get(server.url("/ping"), timeout=SECONDS).ok
        assert server.predict(rows(2)).ok
        assert time.monotonic() - started < 2, "others are answered"
        assert slow.result().status_code == 504, "and the time limit counts"


def test_users_code_runs_side_by_side(pipeline: Path, unused_tcp_port: int) -> None:
    with serving(pipeline, unused_tcp_port) as server, ThreadPoolExecutor(6) as clients:
        assert server.predict(rows(1)).ok
        started = time.monotonic()
        answers = list(clients.map(server.predict, [rows(-1.5)] * 6))
        assert all(answer.ok for answer in answers)
        assert time.monotonic() - started < 6, "6 requests that wait 1.5 s each"


def test_what_breaks_out_of_a_batch_leaves_nothing_behind(
    pipeline: Path, unused_tcp_port_factory: Ports
) -> None:
    metrics = unused_tcp_port_factory()
    variables = {"BATCHING": "on", "METRICS_PORT": str(metrics)}
    with serving(pipeline, unused_tcp_port_factory(), **variables) as server:
        url = server.url("/v2/models/mlflow-model/infer")
        for _ in range(3):
            crashed = server.predict(rows(1e7))
            assert crashed.status_code == 500
            assert crashed.json()["message"] == "the model failed: SystemExit"
            assert server.predict(rows(2)).ok
            crashed = requests.post(url, json=column(1e7), timeout=SECONDS)
            assert crashed.status_code == 500
            assert crashed.json() == {"error": "the model failed: SystemExit"}
            assert requests.post(url, json=column(2), timeout=SECONDS).ok
        assert in_flight(metrics) == 0
        assert status(server, "/ping") == 200


def test_a_batch_that_hangs_is_not_ready(pipeline: Path, unused_tcp_port: int) -> None:
    variables = {"BATCHING": "on", "MLFLOW_SCORING_SERVER_REQUEST_TIMEOUT": "1"}
    with serving(pipeline, unused_tcp_port, **variables) as server:
        assert server.predict(rows(1)).ok
        assert server.predict(rows(-600)).status_code == 504
        assert status(server, "/ping") == 200, "it may still end"
        wait_until(lambda: status(server, "/ping") == 503, "it is not ready")
        assert status(server, "/v2/health/live") == 200


HANGS = """\
import os, time
from pathlib import Path
from mlflow.models import set_model
from mlflow.pyfunc import PythonModel


class Hangs(PythonModel):
    def predict(self, context, model_input, params=None):
        while model_input["x"].iloc[0] < 0 and not Path(os.environ["GO"]).exists():
            time.sleep(0.05)
        return list(model_input["x"])


set_model(Hangs())
"""
STUCK = {"MLFLOW_SCORING_SERVER_REQUEST_TIMEOUT": "1", "STUCK_RESTART_AFTER": "3"}


def status(server: Server, path: str) -> int:
    return requests.get(server.url(path), timeout=SECONDS).status_code


def in_flight(metrics: int) -> float:
    text = requests.get(f"http://127.0.0.1:{metrics}/metrics", timeout=SECONDS).text
    return sum(map(float, re.findall(r"requests_in_flight{.*} (\S+)", text)))


def hang(server: Server) -> None:
    """Takes all threads that predict."""
    with ThreadPoolExecutor(40) as clients:
        answers = list(clients.map(server.predict, [rows(-1)] * 40))
    assert {answer.status_code for answer in answers} == {504}


def test_a_server_that_can_not_answer_is_not_ready_and_then_not_alive(
    tmp_path: Path, unused_tcp_port_factory: Ports
) -> None:
    (tmp_path / "model").mkdir()
    models.save_from_code(tmp_path / "model" / "artifact", HANGS)
    go = tmp_path / "go"
    port = unused_tcp_port_factory()
    variables = {**STUCK, "GO": str(go), "GRPC_PORT": str(port), "SHUTDOWN_TIMEOUT": "1"}
    with (
        serving(tmp_path / "model", unused_tcp_port_factory(), **variables) as server,
        grpc.insecure_channel(f"127.0.0.1:{port}") as channel,
    ):
        check = channel.unary_unary("/grpc.health.v1.Health/Check")
        hang(server)
        assert status(server, "/ping") == 200, "it may still end"
        wait_until(lambda: status(server, "/ping") == 503, "it is not ready")
        for path in ("/health", "/v2/health/ready"):
            assert status(server, path) == 503
        assert check(b"", timeout=SECONDS) == b"\x08\x02"
        assert status(server, "/v2/health/live") == 200, "not yet"
        wait_until(lambda: status(server, "/v2/health/live") == 503, "it is not alive")
        go.touch()
        wait_until(lambda: status(server, "/ping") == 200, "it is ready again")
        assert status(server, "/v2/health/live") == 200
        assert server.predict(rows(3)).json() == {"predictions": [3]}
        assert check(b"", timeout=SECONDS) == b"\x08\x01"
        go.unlink()
        hang(server)
        started = time.monotonic()
        server.terminate()
        assert server.ended() == 0
        assert time.monotonic() - started < 10, "hanging predictions do not keep it"


@pytest.mark.parametrize("restart_after", ["300", "0"])
def test_a_server_that_is_full_and_stuck_is_alive_though_not_ready(
    tmp_path: Path, unused_tcp_port_factory: Ports, restart_after: str
) -> None:
    """As the pods' probes ask: below the limit nothing restarts it, and with 0 nothing ever."""
    (tmp_path / "model").mkdir()
    models.save_from_code(tmp_path / "model" / "artifact", HANGS)
    metrics = unused_tcp_port_factory()
    variables = {
        "MLFLOW_SCORING_SERVER_REQUEST_TIMEOUT": "10",
        "METRICS_PORT": str(metrics),
        "STUCK_RESTART_AFTER": restart_after,
        "MAX_CONCURRENT_PREDICTIONS": "2",
        "MAX_QUEUE": "4",
        "GO": str(tmp_path / "go"),
    }
    with (
        serving(tmp_path / "model", unused_tcp_port_factory(), **variables) as server,
        ThreadPoolExecutor(4) as clients,
    ):
        waiting = [clients.submit(server.predict, rows(-1)) for _ in range(4)]
        wait_until(lambda: in_flight(metrics) == 4, "the queue is full")
        assert server.predict(rows(1)).status_code == 503
        assert [status(server, path) for path in (READINESS_PATH, LIVENESS_PATH)] == [200, 200]
        wait_until(lambda: status(server, READINESS_PATH) == 503, "it is not ready")
        assert status(server, LIVENESS_PATH) == 200
        (tmp_path / "go").touch()
        assert {answer.result().status_code for answer in waiting} == {504}
        wait_until(lambda: status(server, READINESS_PATH) == 200, "it is ready again")


def test_a_worker_that_can_not_answer_is_replaced(tmp_path: Path, unused_tcp_port: int) -> None:
    (tmp_path / "model").mkdir()
    models.save_from_code(tmp_path / "model" / "artifact", HANGS)
    variables = {**STUCK, "GO": str(tmp_path / "go"), "WORKERS": "2", "SHUTDOWN_TIMEOUT": "1"}
    with serving(tmp_path / "model", unused_tcp_port, **variables) as server:
        hang(server)
        wait_until(
            lambda: "starting another worker" in server.output.read_text(), "one is replaced", 60
        )
        wait_until(lambda: server.predict(rows(3)).ok, "predictions are made again", 60)
