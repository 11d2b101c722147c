"""Loads the prepared model, and finds the quickest way to ask it."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Any

import numpy as np

from mlflow_model_server.model.candidates import Direct, direct
from mlflow_model_server.model.input_schema import Plan, TensorPlan, plan_of
from mlflow_model_server.settings import Settings

# Gets the settings, the model and its plan; gives the way by its conversion, if there is one.
ByConversion = Callable[[Settings, Any, Plan | None], Direct | None]

_MODEL_CONFIG = "SERVING_MODEL_CONFIG"  # MLflow's name


@dataclass(frozen=True)
class Loaded:
    """A model that is ready to predict."""

    model: Any  # mlflow.pyfunc.PyFuncModel
    signature: Any  # mlflow.models.ModelSignature or None
    plan: Plan | None
    direct: Direct | None

    @property
    def is_onnx(self) -> bool:
        """Whether its conversion to ONNX predicts."""
        return self.direct is not None and self.direct.is_onnx

    def joined(self, parts: Sequence[Any]) -> Any:
        """What the direct way takes, made of the rows of one or more requests."""
        assert self.plan is not None and self.direct is not None
        if isinstance(self.plan, TensorPlan):
            return parts[0] if len(parts) == 1 else np.concatenate(parts)
        rows = parts[0] if len(parts) == 1 else list(chain.from_iterable(parts))
        return self.plan.frame(rows) if self.direct.takes_frame else self.plan.array(rows)


def load(settings: Settings, by_conversion: ByConversion | None = None) -> Loaded:
    """Loads what was prepared. Raises whatever MLflow or the model's code raises.

    Where `by_conversion` gives a way to predict, that is the one.
    """
    model = load_model(settings)
    os.environ["_MLFLOW_IS_IN_SERVING_ENVIRONMENT"] = "true"
    signature = model.metadata.signature
    plan = plan_of(signature)
    way = by_conversion(settings, model, plan) if by_conversion is not None else None
    return Loaded(model, signature, plan, way or direct(model, plan, model.loader_module))


def load_model(settings: Settings) -> Any:
    """The prepared model as MLflow's PyFuncModel. Raises as `load` does."""
    from mlflow import pyfunc

    config = os.environ.get(_MODEL_CONFIG)
    return pyfunc.load_model(
        str(settings.artifact.resolve()),  # MLflow refuses a link that leads out of its folder
        # They are about mlflow-skinny not being mlflow, and about Python: `prepare` has told.
        suppress_warnings=True,
        model_config=json.loads(config) if config else None,
    )
