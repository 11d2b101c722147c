"""MLflow's scoring application with the prepared model; each worker imports this module."""

from __future__ import annotations

import os
import signal
import traceback
from typing import Any

from mlflow_model_server.settings import Settings, from_environment
from mlflow_model_server.termination import Failed, leave_word


def make(settings: Settings) -> Any:
    """The FastAPI application of `mlflow models serve`.

    Raises Failed with ModelLoadFailed, naming the exception.
    """
    from mlflow.pyfunc import scoring_server

    try:
        model = scoring_server.load_model_with_mlflow_config(str(settings.artifact))
    except Exception as error:  # a model's code may raise anything
        traceback.print_exc()
        raise Failed(
            "ModelLoadFailed", f"The model does not load: {type(error).__name__}: {error}"
        ) from error
    return scoring_server.init(model)


def _application() -> Any:
    settings = from_environment()
    try:
        return make(settings)
    except Failed as failure:
        if settings.workers == 1:
            raise
        # uvicorn would start a failing worker again and again: end them all, with the reason told.
        leave_word(failure, settings.termination_log)
        os.kill(os.getppid(), signal.SIGTERM)
        raise SystemExit(1) from failure


app = _application()
