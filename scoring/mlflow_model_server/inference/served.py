"""The one model that is served, as the Open Inference Protocol sees it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

from mlflow_model_server.codecs.metadata import Spec

SERVER = "mlflow-model-server"
PLATFORM = "mlflow"
DEFAULT_NAME = "mlflow-model"  # as `mlflow models serve --enable-mlserver` has it

Predict = Callable[[Any, dict[str, Any]], Awaitable[Any]]


@dataclass(frozen=True)
class Served:
    """The one model that is served.

    `predict` gets the data (an array, a DataFrame, or arrays by name) and MLflow's params, and
    raises what the caller of `handle` expects: it comes through. `name` may be empty.
    """

    name: str
    version: str
    spec: Spec  # the signature as the protocol has it
    ready: Callable[[], bool]
    predict: Predict
    server_version: str = "0.1.0"

    @property
    def known_as(self) -> str:
        """Its name in paths and answers."""
        return known_as(self.name)


def known_as(name: str) -> str:
    """What a model of this name, which may be empty, is called in paths and answers."""
    return name or DEFAULT_NAME


def wrong_model(name: str, version: str | None, served: Served) -> str | None:
    """What to write instead where it is not this model, or not this version, that is asked for."""
    if name != served.known_as:
        return f"there is no model {name!r} here: write {served.known_as!r}"
    if version is not None and version != served.version:
        has = f"write version {served.version!r}" if served.version else "leave the version out"
        return f"there is no version {version!r} of {name!r} here: {has}"
    return None
