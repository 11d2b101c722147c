"""A converted model that answers as the model does. It needs onnxruntime, and nothing else."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mlflow_model_server.model.input_schema import Unsure
from mlflow_model_server.onnx.result import COLUMNS, Converted
from mlflow_model_server.runtime.cgroup import allowed_threads


class Session:
    """Predicts by ONNX Runtime."""

    def __init__(self, model: Path | bytes, how: Converted) -> None:
        """Raises whatever ONNX Runtime raises at a model that it can't run."""
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = allowed_threads() or 0  # 0: all cores
        options.inter_op_num_threads = 1
        options.log_severity_level = 3  # errors
        # Between predictions its threads sleep: the event loop needs the core.
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        self._session = onnxruntime.InferenceSession(
            model if isinstance(model, bytes) else str(model),
            options,
            providers=["CPUExecutionProvider"],
        )
        self._outputs = [how.output]
        self._dtype = np.dtype(how.dtype)
        self._answer_dtype = np.dtype(how.answer_dtype)
        self._answer_shape = how.answer_shape
        self._parts = [
            (one.name, one.type == "tensor(string)", place, np.array(how.most[place]))
            for one, place in zip(self._session.get_inputs(), _places(how), strict=True)
        ]

    def predict(self, data: Any) -> NDArray[Any]:
        """Answers for an array (rows, columns).

        Raises Unsure for numbers that are too large or none, and where an answer is none: MLflow's
        own code is to say why.
        """
        (answer,) = self._session.run(self._outputs, self._feed(data))
        found = np.asarray(answer).astype(self._answer_dtype, copy=False)
        if found.dtype.kind == "f" and not np.isfinite(found).all():
            raise Unsure
        return found.reshape(len(data), *self._answer_shape)

    def _feed(self, data: NDArray[Any]) -> dict[str, NDArray[Any]]:
        return {
            name: self._part(data[:, place], is_text, most)
            for name, is_text, place, most in self._parts
        }

    def _part(self, values: NDArray[Any], is_text: bool, most: NDArray[Any]) -> NDArray[Any]:
        if is_text:
            return np.ascontiguousarray(values)
        numbers = values if values.dtype.kind == "f" else values.astype(np.float64)
        if not (np.abs(numbers) <= most).all():
            raise Unsure
        return np.ascontiguousarray(numbers, self._dtype)


def _places(how: Converted) -> list[slice]:
    """Which columns each of the inputs takes."""
    if how.layout == COLUMNS:
        return [slice(i, i + 1) for i in range(len(how.most))]
    return [slice(None)]
