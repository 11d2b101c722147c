"""Run by each Python: logs a model, prepares and serves it, asks it, and prints the answer.

python -m tests.pythons.serve FOLDER
"""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path
from typing import Any

import mlflow
import pandas as pd
from sklearn.linear_model import LinearRegression

SECONDS = 120


class Doubler(mlflow.pyfunc.PythonModel):
    """Is stored as Python's own code, so only the same Python can load it."""

    def predict(self, context: Any, model_input: Any, params: Any = None) -> Any:
        """Twice the first column."""
        del context, params
        return model_input.iloc[:, 0] * 2


def main(folder: Path) -> None:
    """Both kinds of model: one made of code, one made of data."""
    rows = pd.DataFrame({"x": [1.0, 2.0]})
    linear = folder / "linear"
    mlflow.sklearn.save_model(
        LinearRegression().fit(rows, [2.0, 4.0]),
        linear,
        signature=mlflow.models.infer_signature(rows),
        pip_requirements=["scikit-learn", "mlflow-skinny"],
    )
    pyfunc = folder / "pyfunc"
    mlflow.pyfunc.save_model(
        pyfunc, python_model=Doubler(), pip_requirements=["pandas", "mlflow-skinny"]
    )
    print(json.dumps({"linear": predicted(linear), "pyfunc": predicted(pyfunc)}))


def predicted(model: Path) -> Any:
    """What the server says of the number 3."""
    port = free_port()
    environment = {
        **os.environ,
        "MODEL_URI": str(model),
        "MODEL_DIR": str(model.parent / f"{model.name}-dir"),
        "PORT": str(port),
        "METRICS_PORT": "0",
        "TERMINATION_LOG": str(model.parent / "termination-log"),
    }
    command = (sys.executable, "-m", "mlflow_model_server", "run")
    with subprocess.Popen(command, env=environment) as server:
        try:
            wait_until_it_answers(server, port)
            return ask(port)
        finally:
            server.send_signal(signal.SIGTERM)


def ask(port: int) -> Any:
    """One prediction."""
    request = urllib.request.Request(
        f"http://127.0.0.1:{port}/invocations",
        json.dumps({"dataframe_split": {"columns": ["x"], "data": [[3.0]]}}).encode(),
        {"Content-Type": "application/json"},
    )
    with urllib.request.urlopen(request, timeout=SECONDS) as response:
        return json.load(response)["predictions"]


def wait_until_it_answers(server: subprocess.Popen[bytes], port: int) -> None:
    """Raises AssertionError if it ends, or takes too long."""
    deadline = time.monotonic() + SECONDS
    while True:
        assert server.poll() is None, "the server has ended"
        assert time.monotonic() < deadline, "the server does not answer"
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/ping", timeout=5):
                return
        except OSError:
            time.sleep(0.2)


def free_port() -> int:
    """A port that nothing listens at."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


if __name__ == "__main__":
    main(Path(sys.argv[1]))
