"""Models that converse: their kind, and whether they stream."""

from __future__ import annotations

import copy
from dataclasses import dataclass
from enum import Enum
from typing import Any


class AgentKind(Enum):
    """MLflow's interfaces for models that converse, by the names of their classes."""

    CHAT_MODEL = "ChatModel"
    CHAT_AGENT = "ChatAgent"
    RESPONSES_AGENT = "ResponsesAgent"


@dataclass(frozen=True)
class Agent:
    """A model of such a kind."""

    kind: AgentKind
    # The model without its signature, for requests that were checked by MLflow's own types for the
    # kind. The signature is narrower than these: it has no tools of a ResponsesAgent.
    unsigned: Any  # mlflow.pyfunc.PyFuncModel


def agent_of(model: Any) -> Agent | None:
    """The agent that an MLflow PyFuncModel is; None for all other models."""
    kind = _kind_of(_author_model(model))
    return None if kind is None else Agent(kind, _without_signature(model))


def can_stream(model: Any) -> bool:
    """Whether an MLflow PyFuncModel has a `predict_stream` that yields anything."""
    if getattr(model, "_predict_stream_fn", None) is None:
        return False
    # MLflow's classes have one that only raises.
    method = getattr(type(_author_model(model)), "predict_stream", None)
    return method is None or method.__module__ != "mlflow.pyfunc.model"


def _kind_of(author_model: Any) -> AgentKind | None:
    from mlflow import pyfunc

    for kind in AgentKind:
        interface = getattr(pyfunc, kind.value, None)  # older versions lack some
        if interface is not None and isinstance(author_model, interface):
            return kind
    return None


def _author_model(model: Any) -> Any:
    """The object that the model's author wrote; None for flavors that have none."""
    implementation = getattr(model, "_model_impl", None)
    unwrap = getattr(implementation, "get_raw_model", None)
    if unwrap is None:
        return None
    try:
        return unwrap()
    except Exception:  # not all wrappers of MLflow have a model to give
        return None


def _without_signature(model: Any) -> Any:
    unsigned = copy.copy(model)
    metadata = copy.copy(model.metadata)
    metadata.signature = None
    unsigned._model_meta = metadata
    return unsigned
