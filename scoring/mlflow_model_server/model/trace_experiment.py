"""The experiment that the environment names for traces, looked up in the background.

MLflow would ask the tracking server for it in each request, and have that wait for the answer.
"""

from __future__ import annotations

import itertools
import logging
import os
import threading
import time
from typing import TYPE_CHECKING

from mlflow_model_server.model import mlflow_tracing
from mlflow_model_server.runtime.termination import bounded, redact_urls

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Experiment

log = logging.getLogger(__name__)

ID, NAME = "MLFLOW_EXPERIMENT_ID", "MLFLOW_EXPERIMENT_NAME"
_SECRETS = ("MLFLOW_TRACKING_PASSWORD", "MLFLOW_TRACKING_TOKEN")
_LOOKUP_TIMEOUT = 5.0  # seconds in which a tracking server that works has answered
_LOOKUP_PAUSES = (30, 60, 120, 300, 600)  # seconds, the last of them again and again


def look_up() -> None:
    """Has traces written from when the tracking server has answered.

    Where the model's code has disabled them, they stay so.
    """
    is_enabled = mlflow_tracing.is_enabled()
    if is_enabled:
        mlflow_tracing.disable()
    lookup = _Lookup(is_enabled)
    lookup.start()
    if not lookup.is_done.wait(_LOOKUP_TIMEOUT):
        lookup.is_late = True
        log.warning("no traces are written until the tracking server has answered")


class _Lookup(threading.Thread):
    """Tries until it succeeds."""

    def __init__(self, enables: bool) -> None:
        super().__init__(name="traces", daemon=True)
        self.is_done = threading.Event()
        self.is_late = False
        self._enables = enables
        self._provider = mlflow_tracing.provider()

    def run(self) -> None:
        for pause in itertools.chain(_LOOKUP_PAUSES, itertools.repeat(_LOOKUP_PAUSES[-1])):
            try:
                self._activate(_find())
            except Exception as error:  # of MLflow, and of the libraries that it connects by
                reason = _without_secrets(error)
                log.warning("no traces are written, next attempt in %d s: %s", pause, reason)
                time.sleep(pause)
            else:
                self.is_done.set()
                if self.is_late:
                    log.info("traces are written from now on")
                return

    def _activate(self, identifier: str) -> None:
        # Else the model's code has set another meanwhile.
        if mlflow_tracing.active_experiment() is None:
            mlflow_tracing.activate_experiment(identifier)
        # Else the model's code has switched traces on or off meanwhile.
        if self._enables and mlflow_tracing.provider() is self._provider:
            mlflow_tracing.enable()


def _find() -> str:
    """Its identifier. As MLflow does it, an experiment with a new name is created."""
    import mlflow

    client = mlflow.MlflowClient()
    name, identifier = os.environ.get(NAME), os.environ.get(ID)
    if not name:
        experiment = client.get_experiment(identifier)
    else:
        experiment = client.get_experiment_by_name(name) or _create(client, name)
    resolved: str = experiment.experiment_id
    if experiment.lifecycle_stage != "active":
        raise ValueError(f"experiment {resolved} is deleted")
    if identifier and identifier != resolved:
        raise ValueError(
            f"{NAME} is experiment {resolved}, but {ID} is {identifier}: set one of them"
        )
    return resolved


def _create(client: MlflowClient, name: str) -> Experiment:
    import mlflow

    try:
        return client.get_experiment(client.create_experiment(name))
    except mlflow.MlflowException:
        # Another process may have been first.
        experiment = client.get_experiment_by_name(name)
        if experiment is None:
            raise
        return experiment


def _without_secrets(error: Exception) -> str:
    """What an error says, in one line. A tracking server may repeat the request in its answer."""
    text = str(error)
    for secret in filter(None, map(os.environ.get, _SECRETS)):
        text = text.replace(secret, "***")
    return bounded(redact_urls(text))
