"""The baseline that drift is measured against, as a file beside a model's MLmodel.

For training code::

    from mlflow_model_server import baseline

    info = mlflow.sklearn.log_model(model, name="wine", signature=signature)
    baseline.save(info, X_train, model.predict(X_train))
"""

from __future__ import annotations

import json
import tempfile
from pathlib import Path
from typing import Any

from mlflow_model_server.drift.bins import Baseline

FILE = "drift_baseline.json"


def save(model: Any, features: Any, predictions: Any) -> Baseline:
    """Writes FILE to where a model is: a folder, a `models:/m-…` URI, or what log_model returned.

    `features` are the model's inputs, as a DataFrame or an array (rows, columns); `predictions`
    its outputs, as an array, Series, DataFrame or list. Numeric columns get about ten bins of
    as many rows each, text columns one bin for each of their 20 most frequent values. Raises
    ValueError if there is no column to watch, or `model` is none of these.
    """
    from mlflow_model_server.drift import binning

    baseline = binning.baseline_of(
        binning.feature_columns(features, column_names(getattr(model, "signature", None))[0]),
        binning.prediction_columns(predictions),
        binning.training_bins,
    )
    if not baseline.features and not baseline.predictions:
        raise ValueError(
            "there is nothing to monitor: pass the features as a DataFrame or an "
            f"array of at most {binning.MAX_FEATURES} columns, and the predictions "
            "as an array or list"
        )
    text = json.dumps(baseline.to_json(), indent=1)
    folder = _folder(model)
    if folder is not None:
        (folder / FILE).write_text(text, encoding="utf-8")
    else:
        _log(_model_id(model), text)
    return baseline


def load(folder: Path) -> Baseline | None:
    """The baseline of the model in a folder, or None if it has none.

    Raises ValueError if the file is not of this form, OSError if it can't be read.
    """
    path = folder / FILE
    if not path.is_file():
        return None
    try:
        return Baseline.from_json(json.loads(path.read_text("utf-8")))
    except ValueError as error:
        raise ValueError(f"{FILE}: {error}; write it with baseline.save") from error


def column_names(signature: Any) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """The names of the inputs and outputs in an MLflow signature; () where it names none."""
    return _names(getattr(signature, "inputs", None)), _names(getattr(signature, "outputs", None))


def _names(schema: Any) -> tuple[str, ...]:
    names = schema.input_names() if schema is not None else []
    return tuple(map(str, names)) if all(name is not None for name in names) else ()


def _folder(model: Any) -> Path | None:
    if isinstance(model, Path) or (isinstance(model, str) and "://" not in model[:12]):
        folder = Path(model)
        if folder.is_dir():
            return folder
    return None


def _model_id(model: Any) -> str:
    model_id = getattr(model, "model_id", None)
    if model_id is None and isinstance(model, str) and model.startswith("models:/m-"):
        model_id = model.removeprefix("models:/")
    if not isinstance(model_id, str):
        raise ValueError(
            f"{model!r} is neither a model's folder nor a logged model: pass the "
            "return value of log_model"
        )
    return model_id


def _log(model_id: str, text: str) -> None:
    from mlflow import MlflowClient

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, FILE)
        path.write_text(text, encoding="utf-8")
        MlflowClient().log_model_artifact(model_id, str(path))
