"""Models in PyTorch and TensorFlow, where these are installed: see deep.sh."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import keras
import mlflow
import numpy as np
import tensorflow
import torch
from mlflow.models import ModelSignature
from mlflow.types.schema import ColSpec, Schema, TensorSpec

from tests.parity.models import Sample, iris, model, rows_of


def _layers() -> torch.nn.Module:
    torch.manual_seed(0)
    return torch.nn.Sequential(torch.nn.Linear(4, 8), torch.nn.ReLU(), torch.nn.Linear(8, 3))


def _tensor_of_float32() -> ModelSignature:
    return ModelSignature(inputs=Schema([TensorSpec(np.dtype("float32"), (-1, 4))]))


def _save_torch(folder: Path, network: Any, signature: ModelSignature | None) -> None:
    mlflow.pytorch.save_model(
        network,
        folder,
        signature=signature,
        pip_requirements=[],
        serialization_format="pickle",
    )


def _sample() -> Sample:
    x, _ = iris()
    return Sample(rows_of(x), inputs=(x.head(2).to_numpy().tolist(),))


@model(single=True)
def torch_tensor(folder: Path) -> Sample:
    _save_torch(folder, _layers(), _tensor_of_float32())
    return _sample()


@model(single=True)
def torch_columns(folder: Path) -> Sample:
    x, _ = iris()
    signature = ModelSignature(inputs=Schema([ColSpec("float", name) for name in x.columns]))
    _save_torch(folder, _layers(), signature)
    return _sample()


@model(single=True)
def torch_without_signature(folder: Path) -> Sample:
    _save_torch(folder, _layers(), None)
    return _sample()


def _keras() -> keras.Model:
    keras.utils.set_random_seed(0)
    return keras.Sequential(
        [keras.layers.Input((4,)), keras.layers.Dense(8, "relu"), keras.layers.Dense(3, "softmax")]
    )


@model(single=True)
def keras_tensor(folder: Path) -> Sample:
    mlflow.tensorflow.save_model(
        _keras(), folder, signature=_tensor_of_float32(), pip_requirements=[]
    )
    return _sample()


@model(single=True)
def keras_without_signature(folder: Path) -> Sample:
    mlflow.tensorflow.save_model(_keras(), folder, pip_requirements=[])
    return _sample()


class _Module(tensorflow.Module):
    @tensorflow.function(input_signature=[tensorflow.TensorSpec([None, 4], tensorflow.float32)])
    def __call__(self, x: Any) -> Any:
        return tensorflow.reduce_sum(x, axis=1)


@model(single=True)
def tensorflow_module(folder: Path) -> Sample:
    mlflow.tensorflow.save_model(
        _Module(), folder, signature=_tensor_of_float32(), pip_requirements=[]
    )
    return _sample()
