"""The tests' model, logged as code: cheap to start, and its answer says which version gave it."""

from __future__ import annotations

import importlib
import os
import time
from typing import Any

from mlflow.models import set_model
from mlflow.pyfunc import PythonModel

HUNGER = 4 * 2**30  # bytes
SLOWNESS = 0.3  # seconds


class Versioned(PythonModel):  # type: ignore[misc]
    """Answers each row with its version. The column `wait` says how many seconds that may take.

    `behaviour` in its configuration makes it fail while it loads (crash, hungry) or predicts
    (failing), end its process when it predicts (fatal), take longer (slow), or answer with the
    VERDICT of a package that it needs (the package's name).
    """

    def load_context(self, context: Any) -> None:
        """Loads, or fails to."""
        config = context.model_config
        self.answer, self.behaviour = config["version"], config["behaviour"]
        match self.behaviour:
            case "good" | "failing" | "fatal" | "slow":
                return
            case "crash":
                raise RuntimeError("the weights are corrupt")
            case "hungry":
                self.weights = bytearray(b"\1") * HUNGER
            case package:
                self.answer = importlib.import_module(package).VERDICT

    # MLflow would take type hints for a signature.
    def predict(self, context, model_input, params=None):  # type: ignore[no-untyped-def]
        """One answer for each row."""
        if self.behaviour == "failing":
            raise RuntimeError("the features are not those of the training")
        if self.behaviour == "fatal":
            os._exit(1)
        slowness = SLOWNESS if self.behaviour == "slow" else 0.0
        time.sleep(slowness + float(model_input["wait"].max()))
        return [self.answer] * len(model_input)


set_model(Versioned())
