"""Models whose libraries end the whole process: whom that hurts, and what is left."""

from __future__ import annotations

import re
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import mlflow
import pandas as pd
import pytest
import requests
from mlflow.models import infer_signature
from sklearn.tree import DecisionTreeRegressor

from tests.unit.server.process import (
    SECONDS_TO_START,
    Server,
    environment_of_server,
    started,
    wait_until,
)

Ports = Callable[[], int]
SECONDS = 60
CRASHES_ABOVE = 1e6
MANY_ROWS = 5000  # a body beyond what is read in the event loop
# What is in the stack of the thread that crashes.
IN_EVENT_LOOP, IN_BATCH_THREAD = "in _run_inline", "concurrent/futures/thread.py"

ALWAYS_QUICK = """\
import sys
from mlflow_model_server import cli
from mlflow_model_server.inference import batcher

batcher.QUICK = 60.0
sys.exit(cli.main(["serve"]))
"""


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model folder, with a damaged tree: large numbers lead it out of its memory.

    It runs scikit-learn's code only, which does not check that.
    """
    folder = tmp_path_factory.mktemp("tree") / "model"
    frame = pd.DataFrame({"x": [0.0, 2 * CRASHES_ABOVE]})
    fitted = DecisionTreeRegressor(max_depth=1).fit(frame, [0.0, 1.0])
    fitted.tree_.children_right[0] = 2**40
    mlflow.sklearn.save_model(
        fitted,
        folder / "artifact",
        signature=infer_signature(frame, [0.0, 1.0]),
        serialization_format="cloudpickle",
        pip_requirements=[],
    )
    return folder


def rows(x: float, count: int = 1) -> dict[str, Any]:
    return {"dataframe_split": {"columns": ["x"], "data": [[x]] * count}}


@contextmanager
def serving_tree(folder: Path, port: int, **variables: str) -> Iterator[Server]:
    """A server that takes all predictions of small bodies for quick, on any machine."""
    log = folder.parent / "termination-log"
    env = environment_of_server(
        MODEL_DIR=str(folder), PORT=str(port), TERMINATION_LOG=str(log), **variables
    )
    with started([sys.executable, "-c", ALWAYS_QUICK], env, port, log) as server:
        wait_until(server.answers, "the server answers", SECONDS_TO_START)
        yield server


def predict_often(server: Server) -> None:
    for _ in range(20):
        assert server.predict(rows(1)).json() == {"predictions": [0.0]}


def crash(server: Server, count: int) -> None:
    """A prediction that ends the process, and with it the connection, at once."""
    sent = time.monotonic()
    with pytest.raises(requests.ConnectionError):
        server.predict(rows(2 * CRASHES_ABOVE, count), timeout=SECONDS)
    assert time.monotonic() - sent < SECONDS / 2


@pytest.mark.parametrize(
    ("count", "where"), [(1, IN_EVENT_LOOP), (MANY_ROWS, IN_BATCH_THREAD)], ids=["inline", "batch"]
)
def test_a_crash_ends_one_worker_and_no_other_request(
    tree: Path, unused_tcp_port_factory: Ports, count: int, where: str
) -> None:
    metrics = unused_tcp_port_factory()
    variables = {"WORKERS": "2", "METRICS_PORT": str(metrics)}
    with serving_tree(tree, unused_tcp_port_factory(), **variables) as server:
        wait_until(lambda: started_workers(server) == 2, "both workers serve", SECONDS)
        predict_often(server)
        crash(server, count)
        predict_often(server)
        assert where in crashed_thread(server.output.read_text())
        wait_until(lambda: has_noticed(server), "the first process notices it", SECONDS)
        wait_until(lambda: started_workers(server) == 3, "another takes its place", SECONDS)
        wait_until(lambda: in_flight(metrics) == 0, "the lost request is in flight no more")
        predict_often(server)


def test_a_crash_of_the_only_process_is_logged(tree: Path, unused_tcp_port: int) -> None:
    """Nobody starts another here: kubelet restarts the container."""
    with serving_tree(tree, unused_tcp_port) as server:
        predict_often(server)
        crash(server, 1)
        assert server.ended() == -11
        assert IN_EVENT_LOOP in crashed_thread(server.output.read_text())


def started_workers(server: Server) -> int:
    return server.output.read_text().count("serving on port")


def has_noticed(server: Server) -> bool:
    return "exited with code -11: starting another" in server.output.read_text()


def crashed_thread(output: str) -> str:
    """The Python code that the log says the process crashed in."""
    _, crashed, after = output.partition("Fatal Python error: Segmentation fault\n\n")
    assert crashed, output[-3000:]
    return after.partition("\n\n")[0]


def in_flight(metrics: int) -> float | None:
    with suppress(requests.ConnectionError):
        text = requests.get(f"http://127.0.0.1:{metrics}/metrics", timeout=SECONDS).text
        return sum(map(float, re.findall(r"requests_in_flight{.*} (\S+)", text)))
    return None
