"""The model's own input example, answered before the server listens: the image's own process."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import mlflow.models
import pandas as pd
import pytest
import requests
from sklearn.datasets import load_wine

from mlflow_model_server.settings import Settings
from tests.unit.server import models
from tests.unit.server.process import running, serving, wait_until

ON = {"INPUT_EXAMPLE": "if-present", "MODEL_URI": "models:/wine/3"}
TABLE = pd.DataFrame({"x": [7.5]})

# What it does with a table depends on the number in it.
MOODY = """\
import time
from mlflow.models import set_model
from mlflow.pyfunc import PythonModel


class Moody(PythonModel):
    def predict(self, context, model_input, params=None):
        x = float(model_input["x"].iloc[0])
        if x == 1:
            raise ValueError(f"a secret: {x}")
        if x == 2:
            raise SystemExit(f"a secret: {x}")
        while x == 3:
            time.sleep(1)
        return ["a secret"] if x == 4 else [x]


set_model(Moody())
"""


@pytest.fixture
def model(tmp_path: Path) -> Path:
    """Where a test saves its model: MLflow makes the folder."""
    return tmp_path / "source"


def save_moody(folder: Path, x: float, **more: Any) -> None:
    table = pd.DataFrame({"x": [x]})
    signature = mlflow.models.infer_signature(table, [0.5])
    # MLflow would try the example by itself, and wait for it.
    models.save_from_code(folder, MOODY, signature=signature, **more)
    mlmodel = mlflow.models.Model.load(folder)
    saved = mlflow.models.utils._Example(table)
    saved.save(str(folder))
    mlmodel.saved_input_example_info = saved.info
    mlmodel.save(folder / "MLmodel")


@pytest.mark.parametrize("workers", ["1", "2"])
def test_a_model_that_answers_it_is_served_and_nobody_counts_it(
    settings: Settings, model: Path, tmp_path: Path, unused_tcp_port: int, workers: str
) -> None:
    rows, _ = load_wine(return_X_y=True, as_frame=True)
    models.save_wine(model, input_example=rows.head(2))
    keys, log = tmp_path / "keys", tmp_path / "requests.jsonl"
    keys.write_text("someone:0123456789abcdef0123\n")
    others = {"API_KEYS_FILE": str(keys), "REQUEST_LOG": str(log), "RATE_LIMIT": "0.001"}
    with serving(
        settings.model_dir, unused_tcp_port, WORKERS=workers, **{**ON, **others}
    ) as server:
        refused = requests.post(server.url("/invocations"), json={}, timeout=10)
        assert refused.status_code == 401
        wait_until(
            lambda: (
                server.output.read_text().count("its input example was answered after")
                == int(workers)
            ),
            "each worker has answered it",
            120,
        )
        assert not log.exists() or not log.read_text()
        server.terminate()
        assert server.ended() == 0


@pytest.mark.parametrize(
    ("x", "workers", "message"),
    [
        (1, "1", "answers its own input example with 400 (BAD_REQUEST)"),
        (2, "2", "answers its own input example with 500 (INTERNAL_ERROR)"),
        (3, "1", "does not answer its own input example within 2 s"),
        (4, "1", "with an output that does not fit its signature: the output is a string, and"),
    ],
    ids=["exception", "exit", "hangs", "output"],
)
def test_a_model_that_does_not_ends_before_it_listens(
    settings: Settings, model: Path, unused_tcp_port: int, x: float, workers: str, message: str
) -> None:
    save_moody(model, x)
    variables = {"WORKERS": workers, "INPUT_EXAMPLE_TIMEOUT": "2", **ON}
    with running(settings.model_dir, unused_tcp_port, **variables) as server:
        assert server.ended() == 1
        told = server.told()
        assert "serving on port" not in server.output.read_text()
    assert told["reason"] == "InputExampleFailed"
    assert told["message"].startswith("models:/wine/3 ")
    assert message in told["message"]
    assert "secret" not in told["message"]


def test_a_model_without_one_is_served_unless_one_is_required(
    settings: Settings, model: Path, unused_tcp_port: int
) -> None:
    models.save_wine(model)
    with serving(settings.model_dir, unused_tcp_port, **ON) as server:
        assert "has no input example, so it was not checked with it" in server.output.read_text()
    required = {**ON, "INPUT_EXAMPLE": "required"}
    with running(settings.model_dir, unused_tcp_port, **required) as server:
        assert server.ended() == 1
        assert server.told() == {
            "reason": "InputExampleFailed",
            "message": "models:/wine/3 has no input example, and one is required",
        }
