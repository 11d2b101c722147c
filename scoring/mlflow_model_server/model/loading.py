"""Loads the prepared model, and finds the quickest way to ask it."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import chain
from typing import TYPE_CHECKING, Any

import numpy as np

from mlflow_model_server.model.arrays import Direct, direct
from mlflow_model_server.model.plan import Plan, TensorPlan, plan_of
from mlflow_model_server.settings import Settings

if TYPE_CHECKING:
    from mlflow_model_server.openinference.metadata import Spec
    from mlflow_model_server.openinference.routes import Predict, Served

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

    def framed(self, data: Any) -> Any:
        """What the Open Inference Protocol brought, as MLflow's own code takes it."""
        from mlflow_model_server.openinference.codec import frame_of

        return frame_of(data, self.spec)

    @cached_property
    def spec(self) -> Spec:
        """The signature as the Open Inference Protocol has it."""
        from mlflow_model_server.openinference.metadata import spec_of

        return spec_of(self.signature)

    def served(self, settings: Settings, predict: Predict) -> Served:
        """The model as the Open Inference Protocol sees it."""
        from mlflow_model_server.openinference.routes import Served

        return Served(settings.model_name, settings.model_version, self.spec, lambda: True, predict)


def load(settings: Settings) -> Loaded:
    """Loads what was prepared. Raises whatever MLflow or the model's code raises."""
    model = load_model(settings)
    os.environ["_MLFLOW_IS_IN_SERVING_ENVIRONMENT"] = "true"
    signature = model.metadata.signature
    plan = plan_of(signature)
    return Loaded(model, signature, plan, _quickest(settings, model, plan))


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


def _quickest(settings: Settings, model: Any, plan: Plan | None) -> Direct | None:
    if settings.onnx:
        # Imported here: few ask for it.
        from mlflow_model_server.conversion.use import by_onnx

        way = by_onnx(settings, model, plan)
        if way is not None:
            return way
    return direct(model, plan, model.loader_module)
