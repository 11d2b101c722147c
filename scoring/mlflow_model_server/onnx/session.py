"""A converted model that answers as the model does. It needs onnxruntime, and nothing else."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mlflow_model_server.model.input_schema import FallbackRequired
from mlflow_model_server.onnx.result import COLUMNS, OnnxSpec
from mlflow_model_server.runtime.cgroup import thread_limit


class Session:
    """Predicts by ONNX Runtime."""

    def __init__(self, model: Path | bytes, spec: OnnxSpec) -> None:
        """Raises whatever ONNX Runtime raises at a model that it can't run."""
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = thread_limit() or 0  # 0: all cores
        options.inter_op_num_threads = 1
        options.log_severity_level = 3  # errors
        # Between predictions its threads sleep: the event loop needs the core.
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        self._session = onnxruntime.InferenceSession(
            model if isinstance(model, bytes) else str(model),
            options,
            providers=["CPUExecutionProvider"],
        )
        self._outputs = [spec.output]
        self._dtype = np.dtype(spec.dtype)
        self._answer_dtype = np.dtype(spec.answer_dtype)
        self._answer_shape = spec.answer_shape
        self._parts = [
            (tensor.name, tensor.type == "tensor(string)", place, np.array(spec.max_abs[place]))
            for tensor, place in zip(self._session.get_inputs(), _places(spec), strict=True)
        ]

    def predict(self, data: Any) -> NDArray[Any]:
        """Answers for an array (rows, columns).

        Raises FallbackRequired for numbers that are too large or missing, and where the answer is
        not finite: MLflow's own code is to say why.
        """
        (answer,) = self._session.run(self._outputs, self._feed(data))
        predictions = np.asarray(answer).astype(self._answer_dtype, copy=False)
        if predictions.dtype.kind == "f" and not np.isfinite(predictions).all():
            raise FallbackRequired
        return predictions.reshape(len(data), *self._answer_shape)

    def _feed(self, data: NDArray[Any]) -> dict[str, NDArray[Any]]:
        return {
            name: self._part(data[:, place], is_text, max_abs)
            for name, is_text, place, max_abs in self._parts
        }

    def _part(self, values: NDArray[Any], is_text: bool, max_abs: NDArray[Any]) -> NDArray[Any]:
        if is_text:
            return np.ascontiguousarray(values)
        numbers = values if values.dtype.kind == "f" else values.astype(np.float64)
        if not (np.abs(numbers) <= max_abs).all():
            raise FallbackRequired
        return np.ascontiguousarray(numbers, self._dtype)


def _places(spec: OnnxSpec) -> list[slice]:
    """Which columns each of the inputs takes."""
    if spec.layout == COLUMNS:
        return [slice(i, i + 1) for i in range(len(spec.max_abs))]
    return [slice(None)]
