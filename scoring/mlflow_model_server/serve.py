"""Serves the prepared model by MLflow's own scoring application.

uvicorn runs the application directly, without nginx before it: it finishes the requests in flight
when it is told to end, and answers health checks meanwhile.
"""

from __future__ import annotations

import logging
import os
import sys
from typing import Any

from mlflow_model_server.settings import Settings
from mlflow_model_server.termination import Failed

log = logging.getLogger(__name__)

_APPLICATION = "mlflow_model_server.application:app"


def serve(settings: Settings) -> None:
    """Serves until SIGTERM, then finishes what is in flight within the shutdown timeout.

    Raises Failed with ModelLoadFailed where a single worker can't load the model; of several, the
    first to fail leaves the word itself and all end.
    """
    if not (settings.artifact / "MLmodel").is_file():
        raise Failed("InvalidModel", f"There is no model in {settings.artifact}: prepare it first")
    if settings.packages.is_dir() and str(settings.packages) not in sys.path:
        _restart_with(settings)
    os.environ["MODEL_DIR"] = str(settings.model_dir)
    import uvicorn

    uvicorn.run(
        _load_application() if settings.workers == 1 else _APPLICATION,
        host="0.0.0.0",  # a pod's own address; nothing else is reachable in it
        port=settings.port,
        workers=settings.workers,
        timeout_graceful_shutdown=settings.shutdown_timeout,
        access_log=False,
        log_level="info",
    )


def _restart_with(settings: Settings) -> None:
    """Starts this process anew with the model's packages before the image's own.

    Packages that are loaded already, and start-up hooks, would else be the image's.
    """
    path = os.pathsep.join(filter(None, [str(settings.packages), os.environ.get("PYTHONPATH")]))
    os.environ["PYTHONPATH"] = path
    os.execv(sys.executable, [sys.executable, "-m", "mlflow_model_server.cli", "serve"])


def _load_application() -> Any:
    from mlflow_model_server.application import app

    return app
