"""Models whose libraries end the whole process: whom that hurts, and what is left."""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import mlflow
import pandas as pd
import pytest
import requests
from mlflow.models import infer_signature
from sklearn.tree import DecisionTreeRegressor

from tests.unit.server.process import Server, serving, wait_until

Ports = Callable[[], int]
SECONDS = 60
CRASHES_ABOVE = 1e6
MANY_ROWS = 5000  # a body beyond what is read in the event loop
# The functions that are called in the thread that crashes.
IN_EVENT_LOOP, IN_BATCH_THREAD = "_run_inline", "_timed"


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


def make_quick(server: Server) -> None:
    """Predicts until all workers know that it takes no time."""
    for _ in range(40):
        assert server.predict(rows(1)).json() == {"predictions": [0.0]}


def crash(server: Server, count: int) -> None:
    """A prediction that ends the process, and with it the connection, at once."""
    started = time.monotonic()
    with pytest.raises(requests.ConnectionError):
        server.predict(rows(2 * CRASHES_ABOVE, count), timeout=SECONDS)
    assert time.monotonic() - started < SECONDS / 2


@pytest.mark.parametrize(
    ("count", "where"), [(1, IN_EVENT_LOOP), (MANY_ROWS, IN_BATCH_THREAD)], ids=["inline", "batch"]
)
def test_a_crash_ends_one_worker_and_no_other_request(
    tree: Path, unused_tcp_port_factory: Ports, count: int, where: str
) -> None:
    metrics = unused_tcp_port_factory()
    variables = {"WORKERS": "2", "METRICS_PORT": str(metrics)}
    with serving(tree, unused_tcp_port_factory(), **variables) as server:
        wait_until(lambda: started_workers(server) == 2, "both workers serve", SECONDS)
        make_quick(server)
        crash(server, count)
        for _ in range(20):
            assert server.predict(rows(1)).json() == {"predictions": [0.0]}
        output = server.output.read_text()
        assert "exited with code -11: starting another" in output
        assert where in crashed_thread(output)
        wait_until(lambda: started_workers(server) == 3, "another takes its place", SECONDS)
        wait_until(lambda: in_flight(metrics) == 0, "the lost request is in flight no more")
        make_quick(server)


def test_a_crash_of_the_only_process_is_logged(tree: Path, unused_tcp_port: int) -> None:
    """Nobody starts another here: kubelet restarts the container."""
    with serving(tree, unused_tcp_port) as server:
        make_quick(server)
        crash(server, 1)
        assert server.ended() == -11
        assert IN_EVENT_LOOP in crashed_thread(server.output.read_text())


def started_workers(server: Server) -> int:
    return server.output.read_text().count("serving on port")


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
