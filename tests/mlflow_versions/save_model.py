"""Saves a model of a flavor as its author would, in an environment with some version of MLflow.

save_model.py FLAVOR FOLDER [PACKAGE…]: the model goes to FOLDER/model with the requirements that
MLflow finds out itself, and PACKAGEs in the versions that are here; what it is asked, and what it
predicts here, to FOLDER/expected.json.
"""

from __future__ import annotations

import json
import sys
from importlib.metadata import version
from pathlib import Path
from typing import Any

import mlflow
import mlflow.pyfunc
import numpy as np
import pandas as pd
from mlflow.models import infer_signature
from sklearn.datasets import load_wine
from sklearn.linear_model import LinearRegression, LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

ROWS, LABELS = load_wine(return_X_y=True, as_frame=True)
ROWS.columns = [name.replace("/", "_") for name in ROWS.columns]


def sklearn(folder: str, more: dict[str, Any]) -> None:
    fitted = make_pipeline(StandardScaler(), LogisticRegression()).fit(ROWS, LABELS)
    signature = infer_signature(ROWS, fitted.predict(ROWS))
    mlflow.sklearn.save_model(fitted, folder, signature=signature, **more)


def xgboost(folder: str, more: dict[str, Any]) -> None:
    from xgboost import XGBClassifier

    fitted = XGBClassifier(n_estimators=10).fit(ROWS, LABELS)
    signature = infer_signature(ROWS, fitted.predict(ROWS))
    mlflow.xgboost.save_model(fitted, folder, signature=signature, **more)


def lightgbm(folder: str, more: dict[str, Any]) -> None:
    from lightgbm import LGBMClassifier

    fitted = LGBMClassifier(n_estimators=10).fit(ROWS, LABELS)
    signature = infer_signature(ROWS, fitted.predict(ROWS))
    mlflow.lightgbm.save_model(fitted, folder, signature=signature, **more)


def onnx(folder: str, more: dict[str, Any]) -> None:
    from skl2onnx import to_onnx

    rows = ROWS.to_numpy(np.float32)
    fitted = LinearRegression().fit(rows, LABELS)
    converted = to_onnx(fitted, rows[:1], target_opset=12)
    signature = infer_signature(rows, fitted.predict(rows).reshape(-1, 1))
    mlflow.onnx.save_model(converted, folder, signature=signature, **more)


class Ratio(mlflow.pyfunc.PythonModel):  # type: ignore[misc]
    def predict(self, context: Any, model_input: Any, params: Any = None) -> Any:
        return np.asarray(model_input["alcohol"] / model_input["hue"])


def pyfunc(folder: str, more: dict[str, Any]) -> None:
    signature = infer_signature(ROWS, np.asarray(ROWS["alcohol"] / ROWS["hue"]))
    mlflow.pyfunc.save_model(folder, python_model=Ratio(), signature=signature, **more)


FLAVORS = {each.__name__: each for each in (sklearn, xgboost, lightgbm, onnx, pyfunc)}


def flat(predictions: Any) -> list[float]:
    """The numbers of one output, row by row; ONNX models give arrays by name."""
    if isinstance(predictions, dict):
        (predictions,) = predictions.values()
    return list(map(float, pd.DataFrame(predictions).to_numpy(float).ravel()))


def main(flavor: str, target: str, *packages: str) -> None:
    """Saves it, loads it again, and asks it."""
    folder = Path(target)
    pins = [f"{name}=={version(name)}" for name in packages]
    FLAVORS[flavor](str(folder / "model"), {"extra_pip_requirements": pins} if pins else {})
    rows = ROWS.head(20)
    loaded = mlflow.pyfunc.load_model(str(folder / "model"))
    if flavor == "onnx":
        asked: Any = rows.to_numpy(np.float32)
        body: dict[str, Any] = {"inputs": asked.tolist()}
    else:
        asked = rows
        body = {"dataframe_split": {"columns": list(rows), "data": rows.to_numpy().tolist()}}
    predicted = flat(loaded.predict(asked))
    (folder / "expected.json").write_text(json.dumps({"body": body, "predicted": predicted}))


if __name__ == "__main__":
    main(*sys.argv[1:])
