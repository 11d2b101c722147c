"""The server's limits, keys, metrics and other routes, each asked of a running server."""

from __future__ import annotations

import json
import re
import socket
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import requests
from mlflow.models import ModelSignature
from mlflow.types.schema import ColSpec, Schema
from sklearn.datasets import load_wine

from mlflow_model_server.settings import Settings
from tests.unit.server import models
from tests.unit.server.process import Server, serving, wait_until


@pytest.fixture
def model(tmp_path: Path) -> Path:
    """Where a test saves its model: MLflow makes the folder."""
    return tmp_path / "source"


def wine(rows: int = 1) -> dict[str, Any]:
    frame, _ = load_wine(return_X_y=True, as_frame=True)
    return {"dataframe_split": frame.iloc[:rows].to_dict(orient="split")}


def metric(port: int, name: str, **labels: str) -> float:
    """The sum of a metric's samples with these labels."""
    text = requests.get(f"http://127.0.0.1:{port}/metrics", timeout=10).text
    wanted = [f'{label}="{value}"' for label, value in labels.items()]
    found = re.findall(rf"^{name}{{(.*)}} (\S+)$", text, re.MULTILINE)
    return sum(float(value) for told, value in found if all(one in told for one in wanted))


def test_too_much_is_refused_with_what_to_do(
    settings: Settings, model: Path, unused_tcp_port: int
) -> None:
    models.save_wine(model)
    limits = {"MAX_BODY_BYTES": "4000", "MAX_ROWS": "3"}
    with serving(settings.model_dir, unused_tcp_port, **limits) as server:
        assert server.predict(wine(3)).ok
        many = server.predict(wine(4))
        assert many.status_code == 413
        assert "4 rows exceed the limit of 3" in many.json()["message"]
        long = server.predict(wine(60))
        assert long.status_code == 413
        assert "4000 bytes" in long.json()["message"]


def test_who_has_no_key_is_refused_and_probes_need_none(
    settings: Settings, model: Path, unused_tcp_port: int, tmp_path: Path
) -> None:
    models.save_wine(model)
    keys = tmp_path / "keys"
    keys.write_text("anna:" + "k" * 32 + "\n")
    with serving(settings.model_dir, unused_tcp_port, API_KEYS_FILE=str(keys)) as server:
        assert server.predict(wine()).status_code == 401
        asked = requests.post(
            server.url("/invocations"),
            json=wine(),
            headers={"Authorization": "Bearer " + "k" * 32},
            timeout=30,
        )
        assert asked.json() == {"predictions": [0]}
        infer = requests.post(server.url("/v2/models/mlflow-model/infer"), json={}, timeout=30)
        assert infer.status_code == 401


def test_what_there_is_no_room_for_is_told_at_once(
    settings: Settings, model: Path, unused_tcp_port_factory: Any, tmp_path: Path
) -> None:
    models.save_from_code(model, models.SLOW)
    port, metrics = unused_tcp_port_factory(), unused_tcp_port_factory()
    told = {"MAX_QUEUE": "2", "SLOW_FOLDER": str(tmp_path), "METRICS_PORT": str(metrics)}
    payload = {"dataframe_split": {"columns": ["x"], "data": [[1]]}}
    with serving(settings.model_dir, port, **told) as server, ThreadPoolExecutor(2) as clients:
        waiting = [clients.submit(server.predict, payload) for _ in range(2)]
        in_flight = "mlflow_model_server_requests_in_flight"
        wait_until(lambda: metric(metrics, in_flight) == 2, "two requests are in flight")
        refused = server.predict(payload, timeout=5)
        assert (refused.status_code, refused.headers["retry-after"]) == (503, "1")
        (tmp_path / "go").touch()
        assert [one.result().json() for one in waiting] == [{"predictions": [1]}] * 2


def test_a_client_that_leaves_frees_its_place(
    settings: Settings, model: Path, unused_tcp_port: int, tmp_path: Path
) -> None:
    models.save_from_code(model, models.SLOW)
    limits = {"MAX_QUEUE": "1", "SLOW_FOLDER": str(tmp_path)}
    payload = json.dumps({"dataframe_split": {"columns": ["x"], "data": [[1]]}}).encode()
    with serving(settings.model_dir, unused_tcp_port, **limits) as server:
        with socket.create_connection(("127.0.0.1", server.port)) as client:
            client.sendall(
                b"POST /invocations HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
                b"Content-Length: %d\r\n\r\n%s" % (len(payload), payload)
            )
            wait_until((tmp_path / "begun").exists, "the prediction has begun")
        (tmp_path / "go").touch()
        wait_until(
            lambda: server.predict(json.loads(payload)).status_code == 200, "there is room again"
        )


@pytest.mark.parametrize("workers", ["1", "2"])
def test_requests_are_counted_over_all_workers(
    settings: Settings, model: Path, unused_tcp_port_factory: Any, workers: str
) -> None:
    models.save_wine(model)
    port, metrics = unused_tcp_port_factory(), unused_tcp_port_factory()
    told = {"METRICS_PORT": str(metrics), "MODEL_URI": "models:/wine/3", "REVISION": "wine-1"}
    with serving(settings.model_dir, port, WORKERS=workers, **told) as server:
        for _ in range(20):
            assert server.predict(wine(2)).ok
        assert server.predict({"dataframe_split": 1}).status_code == 400
        own = {"route": "/invocations", "model": "wine", "version": "3", "revision": "wine-1"}
        name = "mlflow_model_server_requests_total"
        assert metric(metrics, name, code="200", **own) == 20
        assert metric(metrics, name, code="400", **own) == 1
        assert metric(metrics, "mlflow_model_server_batch_rows_sum") == 40
        phases = "mlflow_model_server_phase_duration_seconds_count"
        assert metric(metrics, phases, phase="predict") == 20


@pytest.mark.parametrize("named", [True, False], ids=["with a signature", "without"])
def test_a_custom_model_is_observed_as_others_are(
    settings: Settings, model: Path, unused_tcp_port_factory: Any, named: bool
) -> None:
    signature = ModelSignature(Schema([ColSpec("long", "x")])) if named else None
    models.save_from_code(model, models.GREETER, signature=signature)
    port, metrics = unused_tcp_port_factory(), unused_tcp_port_factory()
    rows = {"dataframe_split": {"columns": ["x"], "data": [[n] for n in range(50)]}}
    told = {"METRICS_PORT": str(metrics), "DRIFT_BASELINE_ROWS": "250"}
    with serving(settings.model_dir, port, **told) as server:
        for _ in range(4):
            assert server.predict(rows).json() == {"predictions": [2 * n for n in range(50)]}
        infer = server.url("/v2/models/mlflow-model/infer")
        one = {"name": "x", "shape": [50], "datatype": "INT64", "data": [*range(50)]}
        asked = {"inputs": [one], "parameters": {"content_type": "pd"}}
        assert requests.post(infer, json=asked, timeout=30).ok
        assert server.predict({"dataframe_split": 1}).status_code == 400
        assert metric(metrics, "mlflow_model_server_batch_rows_sum") == 250
        for phase in ("queue", "decode", "predict", "encode"):
            count = "mlflow_model_server_phase_duration_seconds_count"
            assert metric(metrics, count, phase=phase) == 5
        # All rows up to here are what the others are measured by.
        baseline = "mlflow_model_server_drift_baseline"
        wait_until(lambda: metric(metrics, baseline) == 1, "there is a baseline")
        assert server.predict(rows).ok
        values = "mlflow_model_server_feature_values_total"
        outputs = "mlflow_model_server_prediction_values_total"
        wait_until(lambda: metric(metrics, outputs) == 50, "all rows are counted")
        # Nothing of what the model added; and no name that only a client has given.
        assert metric(metrics, values) == (50 if named else 0)
        assert metric(metrics, values, feature="x") == (50 if named else 0)


def test_the_open_inference_protocol_and_its_description(
    settings: Settings, model: Path, unused_tcp_port: int
) -> None:
    models.save_wine(model)
    uri = {"MODEL_URI": "models:/wine/3"}
    with serving(settings.model_dir, unused_tcp_port, **uri) as server:
        assert requests.get(server.url("/v2/models/wine/versions/3/ready"), timeout=30).ok
        _infer_is_the_same(server)
        document = requests.get(server.url("/openapi.json"), timeout=30).json()
        assert {"/invocations", "/v2/models/wine/infer"} <= document["paths"].keys()
        wrong = requests.post(server.url("/v2/models/wine/infer"), data=b"{", timeout=30)
        assert wrong.status_code == 400
        assert "error" in wrong.json()


def test_a_refusal_says_what_is_wrong_without_repeating_the_data(
    settings: Settings, model: Path, unused_tcp_port: int
) -> None:
    models.save_colours(model)
    rows = {"columns": ["note"], "data": [["a secret"]]}
    column = {"name": "note", "shape": [1], "datatype": "BYTES", "data": ["a secret"]}
    with serving(settings.model_dir, unused_tcp_port) as server:
        told = server.predict({"dataframe_split": rows})
        infer = server.url("/v2/models/mlflow-model/infer")
        told_v2 = requests.post(infer, json={"inputs": [column]}, timeout=30)
    wrong = (
        "Failed to enforce schema of data … Error: Model is missing inputs ['alcohol', 'colour']"
    )
    for answer, field in ((told, "message"), (told_v2, "error")):
        assert answer.status_code == 400
        assert answer.json()[field].startswith(wrong)
        assert "secret" not in answer.text


def test_requests_are_logged_where_that_is_asked_for(
    settings: Settings, model: Path, unused_tcp_port: int, tmp_path: Path
) -> None:
    models.save_wine(model)
    file = tmp_path / "requests.log"
    told = {"REQUEST_LOG": str(file), "REQUEST_LOG_BODIES": "true"}
    trace = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
    with serving(settings.model_dir, unused_tcp_port, **told) as server:
        requests.post(
            server.url("/invocations"), json=wine(), headers={"traceparent": trace}, timeout=30
        )
        wait_until(lambda: file.exists() and file.read_text().endswith("\n"), "a line is written")
    line = json.loads(file.read_text())
    assert (line["route"], line["code"], line["traceparent"]) == ("/invocations", 200, trace)
    assert line["seconds"] > 0
    assert line["rows"] == 1
    assert json.loads(line["response"]) == {"predictions": [0]}


def _infer_is_the_same(server: Server) -> None:
    rows, _ = load_wine(return_X_y=True)
    some = rows[::40]
    data = {"name": "rows", "shape": list(some.shape), "datatype": "FP64", "data": some.tolist()}
    infer = requests.post(server.url("/v2/models/wine/infer"), json={"inputs": [data]}, timeout=30)
    assert infer.ok, infer.text
    frame, _ = load_wine(return_X_y=True, as_frame=True)
    split = frame.iloc[::40].to_dict(orient="split")
    expected = server.predict({"dataframe_split": split}).json()["predictions"]
    assert infer.json()["outputs"][0]["data"] == expected
