"""Loads the prepared model, and finds the fastest way to predict."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Any

import numpy as np

from mlflow_model_server.model.agents import Agent, agent_of, can_stream
from mlflow_model_server.model.candidates import DirectPredictor, find_direct_predictor
from mlflow_model_server.model.input_schema import InputSchema, TensorSchema, input_schema_of
from mlflow_model_server.model.library_code import runs_known_code_only
from mlflow_model_server.settings import Settings

# Gets the settings, the model and its input schema; returns a predictor, or None.
ByConversion = Callable[[Settings, Any, InputSchema | None], DirectPredictor | None]

_MODEL_CONFIG = "SERVING_MODEL_CONFIG"  # MLflow's name


@dataclass(frozen=True)
class Loaded:
    """A model that is ready to predict."""

    model: Any  # mlflow.pyfunc.PyFuncModel
    signature: Any  # mlflow.models.ModelSignature or None
    input_schema: InputSchema | None
    direct: DirectPredictor | None
    # `direct` runs no code of the model's author, which may take any time, or change anything.
    runs_known_code: bool = False
    agent: Agent | None = None  # None: it is none
    can_stream: bool = False

    @property
    def ignores_row_labels(self) -> bool:
        """Whether no label of a row (pandas' index) can reach what predicts, or change it."""
        return self.direct is not None and not self.direct.accepts_dataframe

    @property
    def is_onnx(self) -> bool:
        """Whether its conversion to ONNX predicts."""
        return self.direct is not None and self.direct.is_onnx

    def merge_rows(self, parts: Sequence[Any]) -> Any:
        """The direct predictor's input, made of the rows of several requests."""
        assert self.input_schema is not None and self.direct is not None
        if isinstance(self.input_schema, TensorSchema):
            return parts[0] if len(parts) == 1 else np.concatenate(parts)
        rows = parts[0] if len(parts) == 1 else list(chain.from_iterable(parts))
        if self.direct.accepts_dataframe:
            return self.input_schema.frame(rows)
        return self.input_schema.array(rows)


def load(settings: Settings, by_conversion: ByConversion | None = None) -> Loaded:
    """Loads what was prepared. Raises whatever MLflow or the model's code raises.

    A predictor that `by_conversion` returns is preferred.
    """
    model = load_model(settings)
    os.environ["_MLFLOW_IS_IN_SERVING_ENVIRONMENT"] = "true"
    signature = model.metadata.signature
    input_schema = input_schema_of(signature)
    direct = by_conversion(settings, model, input_schema) if by_conversion is not None else None
    if direct is None:
        direct = find_direct_predictor(model, input_schema, model.loader_module)
    known = direct is not None and (direct.is_onnx or runs_known_code_only(model))
    return Loaded(model, signature, input_schema, direct, known, agent_of(model), can_stream(model))


def load_model(settings: Settings) -> Any:
    """The prepared model as MLflow's PyFuncModel. Raises as `load` does."""
    from mlflow import pyfunc

    config = os.environ.get(_MODEL_CONFIG)
    return pyfunc.load_model(
        str(settings.artifact.resolve()),  # MLflow refuses a link that leads out of its folder
        # About mlflow-skinny not being mlflow, and about Python: `prepare` has logged that.
        suppress_warnings=True,
        model_config=json.loads(config) if config else None,
    )
