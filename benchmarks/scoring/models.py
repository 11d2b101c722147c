"""The models that are served: python -m benchmarks.scoring.models FOLDER CASE….

Each case is a folder with `model`, saved by MLflow, and a file for each protocol that servers are
asked by (`protocols.py`), with the same rows.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import mlflow
import numpy as np
import pandas as pd
from mlflow.models import ModelSignature, infer_signature
from mlflow.types.schema import Schema, TensorSpec
from sklearn.compose import ColumnTransformer
from sklearn.datasets import load_diabetes
from sklearn.ensemble import RandomForestRegressor
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LinearRegression, LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler

from benchmarks.scoring import bodies

Body = dict[str, Any]


def _diabetes() -> tuple[pd.DataFrame, pd.Series]:
    x, y = load_diabetes(return_X_y=True, as_frame=True)
    return x, y


def _save_sklearn(folder: Path, fitted: Any, frame: pd.DataFrame) -> None:
    mlflow.sklearn.save_model(
        fitted,
        folder,
        signature=infer_signature(frame, fitted.predict(frame)),
        input_example=frame.head(20),
        serialization_format="cloudpickle",
        pip_requirements=[],
    )


def _split(frame: pd.DataFrame) -> Body:
    split = frame.to_dict(orient="split")
    return {"dataframe_split": {"columns": split["columns"], "data": split["data"]}}


def _tensors() -> ModelSignature:
    """Ten numbers in, one out; MLServer refuses models whose signature names no output."""
    inputs, outputs = (TensorSpec(np.dtype("float32"), (-1, width)) for width in (10, 1))
    return ModelSignature(inputs=Schema([inputs]), outputs=Schema([outputs]))


def linear(folder: Path) -> Body:
    """Ten columns, one row."""
    x, y = _diabetes()
    _save_sklearn(folder, LinearRegression().fit(x, y), x)
    return _split(x.head(1))


def forest(folder: Path) -> Body:
    """100 trees over ten columns, one row."""
    x, y = _diabetes()
    _save_sklearn(folder, RandomForestRegressor(100, random_state=0).fit(x, y), x)
    return _split(x.head(1))


def text(folder: Path) -> Body:
    """Free text, two categories and two numbers through a ColumnTransformer, one row."""
    rng = np.random.default_rng(7)
    words = np.array(["good", "bad", "red", "white", "dry", "sweet", "fruity", "oak", "thin"])
    x = pd.DataFrame(
        {
            "review": [" ".join(rng.choice(words, 12)) for _ in range(500)],
            "country": rng.choice(["FR", "IT", "ES", "DE"], 500),
            "grape": rng.choice(["merlot", "riesling", "syrah"], 500),
            "price": rng.gamma(2, 10, 500),
            "year": rng.integers(1990, 2025, 500).astype(float),
        }
    )
    columns = ColumnTransformer(
        [
            ("words", TfidfVectorizer(), "review"),
            ("categories", OneHotEncoder(handle_unknown="ignore"), ["country", "grape"]),
            ("numbers", StandardScaler(), ["price", "year"]),
        ]
    )
    fitted = make_pipeline(columns, LogisticRegression()).fit(x, (x["price"] > 15).astype(int))
    _save_sklearn(folder, fitted, x)
    return _split(x.head(1))


def onnx(folder: Path) -> Body:
    """The linear model as ONNX, with a tensor for input, one row."""
    from skl2onnx import to_onnx

    x, y = _diabetes()
    array = x.to_numpy(dtype="float32")
    converted = to_onnx(LinearRegression().fit(array, y), array[:1])
    mlflow.onnx.save_model(converted, folder, signature=_tensors(), pip_requirements=[])
    return {"inputs": array[:1].astype(float).tolist()}


def batch(folder: Path) -> Body:
    """The linear model, 1,000 rows in each request."""
    x, y = _diabetes()
    _save_sklearn(folder, LinearRegression().fit(x, y), x)
    return _split(pd.concat([x] * 3).head(1000))


def torch(folder: Path) -> Body:
    """A perceptron of two layers in PyTorch on the CPU, with a tensor for input, one row."""
    import torch as pytorch

    x, _ = _diabetes()
    array = x.to_numpy(dtype="float32")
    pytorch.manual_seed(0)
    layers = pytorch.nn.Sequential(
        pytorch.nn.Linear(10, 64), pytorch.nn.ReLU(), pytorch.nn.Linear(64, 1)
    )
    mlflow.pytorch.save_model(
        layers,
        folder,
        signature=_tensors(),
        pip_requirements=[],
        serialization_format="pickle",
    )
    return {"inputs": array[:1].astype(float).tolist()}


CASES: dict[str, Callable[[Path], Body]] = {
    "linear": linear,
    "forest": forest,
    "text": text,
    "onnx": onnx,
    "batch": batch,
    "torch": torch,
}


def save(folder: Path, case: str) -> None:
    """Makes `folder` with the model of the case and what is sent to it."""
    folder.mkdir(parents=True)
    body = CASES[case](folder / "model")
    bodies.write(folder, body)


def main() -> None:
    """The command line: an environment of its own saves what it alone can load."""
    for case in sys.argv[2:]:
        save(Path(sys.argv[1]) / case, case)


if __name__ == "__main__":
    main()
