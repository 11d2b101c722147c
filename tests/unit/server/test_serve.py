"""`serve` as a process of its own, with models that MLflow saved."""

from __future__ import annotations

import os
import signal
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import requests
from sklearn.datasets import load_wine

from mlflow_model_server.prepare import install
from mlflow_model_server.settings import Settings
from tests.unit.server import models
from tests.unit.server.process import running, serving, wait_until
from tests.unit.server.wheels import make_wheel

BOTH = pytest.mark.parametrize("workers", ["1", "2"])


@pytest.fixture
def model(tmp_path: Path) -> Path:
    """Where a test saves its model: MLflow makes the folder."""
    return tmp_path / "source"


def workers_of(pid: int) -> set[int]:
    text = Path(f"/proc/{pid}/task/{pid}/children").read_text()
    return {int(child) for child in text.split()}


def test_predictions_are_the_model_s_own(
    settings: Settings, model: Path, unused_tcp_port: int
) -> None:
    fitted = models.save_wine(model)
    rows, _ = load_wine(return_X_y=True, as_frame=True)
    rows = rows.iloc[::20]
    with serving(settings.model_dir, unused_tcp_port) as server:
        answer = server.predict({"dataframe_split": rows.to_dict(orient="split")})
        assert answer.json() == {"predictions": fitted.predict(rows).tolist()}
        refused = server.predict({"dataframe_split": {"columns": ["a"], "data": [[1]]}})
        assert (refused.status_code, refused.json()["error_code"]) == (
            400,
            "INVALID_PARAMETER_VALUE",
        )
        assert requests.get(server.url("/version"), timeout=10).text
        assert requests.get(f"http://[::1]:{server.port}/ping", timeout=10).ok
        server.terminate()
        assert server.ended() == 0


def test_the_model_s_packages_and_code_are_found(
    settings: Settings, model: Path, wheels: Path, unused_tcp_port: int
) -> None:
    make_wheel(wheels, "tinyone", "1.0")
    models.save_from_code(model, models.CUSTOM, helper="def double(x):\n    return 2 * x\n")
    install.install(settings, {})
    with serving(settings.model_dir, unused_tcp_port) as server:
        answer = server.predict({"dataframe_split": {"columns": ["x"], "data": [[1], [2]]}})
        assert answer.json() == {"predictions": ["2 by 1.0", "4 by 1.0"]}


@BOTH
def test_sigterm_loses_no_request_in_flight(
    settings: Settings, model: Path, tmp_path: Path, unused_tcp_port: int, workers: str
) -> None:
    models.save_from_code(model, models.SLOW)
    variables = {"SLOW_FOLDER": str(tmp_path), "WORKERS": workers}
    with (
        serving(settings.model_dir, unused_tcp_port, **variables) as server,
        ThreadPoolExecutor() as clients,
    ):
        answer = clients.submit(
            server.predict, {"dataframe_split": {"columns": ["x"], "data": [[7]]}}
        )
        wait_until((tmp_path / "begun").exists, "the prediction begins")
        server.terminate()
        wait_until(server.refuses_connections, "the server refuses new connections")
        (tmp_path / "go").touch()
        assert answer.result().json() == {"predictions": [7]}
        assert server.ended() == 0


def test_a_request_that_takes_too_long_does_not_keep_the_server_from_ending(
    settings: Settings, model: Path, tmp_path: Path, unused_tcp_port: int
) -> None:
    models.save_from_code(model, models.SLOW)
    variables = {"SLOW_FOLDER": str(tmp_path), "SHUTDOWN_TIMEOUT": "1"}
    with (
        serving(settings.model_dir, unused_tcp_port, **variables) as server,
        ThreadPoolExecutor() as clients,
    ):
        lost = clients.submit(
            server.predict, {"dataframe_split": {"columns": ["x"], "data": [[7]]}}
        )
        wait_until((tmp_path / "begun").exists, "the prediction begins")
        server.terminate()
        assert server.ended() == 0
        assert isinstance(lost.exception(), requests.ConnectionError) or not lost.result().ok


@pytest.mark.parametrize(
    ("workers", "code", "message"),
    [
        ("1", "import nosuchmodule", "ModuleNotFoundError: No module named 'nosuchmodule'"),
        (
            "2",
            'raise RuntimeError("first\\nno such thing at https://me:secret@example.com/")',
            "RuntimeError: no such thing at https://***@example.com/",
        ),
        ("1", "raise SystemExit('leaving')", "SystemExit: leaving"),
    ],
    ids=["import", "exception", "exit"],
)
def test_a_model_that_does_not_load_is_told(
    settings: Settings, model: Path, unused_tcp_port: int, workers: str, code: str, message: str
) -> None:
    models.save_from_code(model, models.SLOW)
    (model / "model.py").write_text(code)
    variables = {"WORKERS": workers, "MODEL_URI": "models:/slow/3"}
    with running(settings.model_dir, unused_tcp_port, **variables) as server:
        assert server.ended() == 1
        told = server.told()
    assert told == {
        "reason": "ModelLoadFailed",
        "message": f"models:/slow/3 does not load: {message}",
    }


def test_a_worker_that_dies_is_replaced(
    settings: Settings, model: Path, unused_tcp_port: int
) -> None:
    models.save_from_code(model, models.SLOW)
    with serving(settings.model_dir, unused_tcp_port, WORKERS="2") as server:
        first = workers_of(server.process.pid)
        assert len(first) == 2
        wait_until(
            lambda: server.output.read_text().count("serving on port") == 2, "both are ready", 120
        )
        for pid in first:
            os.kill(pid, signal.SIGKILL)
        wait_until(
            lambda: len(workers_of(server.process.pid) - first) == 2, "two others take their place"
        )
        wait_until(server.answers, "the server answers again", 120)
        server.terminate()
        assert server.ended() == 0


def test_without_a_model_it_says_so(settings: Settings, model: Path, unused_tcp_port: int) -> None:
    model.mkdir()
    with running(settings.model_dir, unused_tcp_port) as server:
        assert server.ended() == 1
        assert server.told()["reason"] == "InvalidModel"
