"""The tests' model, logged as code: cheap to start, and its answer says which version gave it."""

from __future__ import annotations

import importlib
import os
import time
from typing import Any

from mlflow.exceptions import MlflowException
from mlflow.models import set_model
from mlflow.pyfunc import PythonModel

HUNGER = 4 * 2**30  # bytes
SLOWNESS = 0.3  # seconds
FOREVER = 3600.0  # seconds: longer than any client waits
DELAYS = {"slow": SLOWNESS, "hanging": FOREVER}


class Versioned(PythonModel):  # type: ignore[misc]
    """Answers each row with its version. The column `wait` says how many seconds that may take.

    `behaviour` in its configuration makes it fail while it loads (crash, hungry) or predicts
    (failing), fail where it is to wait (impatient), end its process when it predicts (fatal), take
    longer (slow), never answer (hanging), or answer with the VERDICT of a package that it needs
    (the package's name).
    """

    def load_context(self, context: Any) -> None:
        """Loads, or fails to."""
        config = context.model_config
        self.answer, self.behaviour = config["version"], config["behaviour"]
        match self.behaviour:
            case "good" | "failing" | "impatient" | "fatal" | "slow" | "hanging":
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
        wait = float(model_input["wait"].max())
        if self.behaviour == "impatient" and wait > 0:
            raise MlflowException("the feature store does not answer")  # status 500
        time.sleep(wait + DELAYS.get(self.behaviour, 0.0))
        return [self.answer] * len(model_input)


set_model(Versioned())
