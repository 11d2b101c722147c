"""The ASGI application that answers requests: for now MLflow's own."""

from __future__ import annotations

import json
import os
import traceback
from typing import Any

from mlflow_model_server.settings import Settings
from mlflow_model_server.termination import Failed, last_line, without_passwords


def load(settings: Settings) -> Any:
    """The application of `mlflow models serve`, with the prepared model loaded.

    Raises Failed with ModelLoadFailed, naming the exception.
    """
    try:
        return _load(settings)
    # A model's code may raise anything, and may even exit.
    except (Exception, SystemExit) as error:
        traceback.print_exc()
        what = without_passwords(settings.model_uri) or "The model"
        cause = last_line(_unwrapped(error))
        raise Failed("ModelLoadFailed", f"{what} does not load: {cause}") from error


def _load(settings: Settings) -> Any:
    from mlflow.pyfunc import load_model, scoring_server

    config = os.environ.get(scoring_server.SERVING_MODEL_CONFIG)
    model = load_model(
        str(settings.artifact.resolve()),  # MLflow refuses a link that leads out of its folder
        # They are about mlflow-skinny not being mlflow, and about Python: `prepare` has told.
        suppress_warnings=True,
        model_config=json.loads(config) if config else None,
    )
    return scoring_server.init(model)


def _unwrapped(error: BaseException) -> BaseException:
    """What the model's own code raised, where MLflow wrapped it in an exception of its own."""
    while type(error).__name__ == "MlflowException" and error.__cause__ is not None:
        error = error.__cause__
    return error
