"""The model as its own library loads it, which is the fastest way that these servers have."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import mlflow
import numpy as np
import pandas as pd
import yaml

Rows = Sequence[Any]  # a list of numbers, or an object by column, for each
Predict = Callable[[Rows], "np.ndarray[Any, Any]"]

MODEL = os.environ.get("BENCHMARK_MODEL", "")
MAX_BATCH = 64
# Of waiting for more requests: a millisecond, as servers with batches are set up for short latency.
BATCH_SECONDS = 0.001


def load(folder: str = MODEL) -> Predict:
    """What predicts rows."""
    flavors = yaml.safe_load(Path(folder, "MLmodel").read_text())["flavors"]
    if "onnx" in flavors:
        return _onnx(Path(folder, flavors["onnx"]["data"]))
    return _pytorch(folder) if "pytorch" in flavors else _sklearn(folder)


def _sklearn(folder: str) -> Predict:
    model = mlflow.sklearn.load_model(folder)
    names = list(model.feature_names_in_)

    def predict(rows: Rows) -> Any:
        return model.predict(pd.DataFrame(rows, columns=names))

    return predict


def _onnx(file: Path) -> Predict:
    import onnxruntime

    session = onnxruntime.InferenceSession(file, providers=["CPUExecutionProvider"])
    name = session.get_inputs()[0].name

    def predict(rows: Rows) -> Any:
        return session.run(None, {name: np.asarray(rows, np.float32)})[0]

    return predict


def _pytorch(folder: str) -> Predict:
    import torch

    model = mlflow.pytorch.load_model(folder)

    def predict(rows: Rows) -> Any:
        with torch.inference_mode():
            return model(torch.as_tensor(np.asarray(rows, np.float32))).numpy()

    return predict
