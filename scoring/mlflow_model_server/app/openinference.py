"""Requests of the Open Inference Protocol."""

from __future__ import annotations

import asyncio
import time
from typing import Any

from mlflow_model_server.app.asgi import ClientGone, Receive, Scope
from mlflow_model_server.app.predictor import Made, Predictor
from mlflow_model_server.model.loading import Loaded
from mlflow_model_server.observe.layout import INFER
from mlflow_model_server.openinference import routes
from mlflow_model_server.openinference.routes import Answer
from mlflow_model_server.protocol.fallback import TooManyRows, refusal_of
from mlflow_model_server.protocol.reply import JSON, Refusal, Reply
from mlflow_model_server.settings import Settings


async def answer(
    loaded: Loaded,
    settings: Settings,
    predictor: Predictor,
    scope: Scope,
    receive: Receive,
    body: bytes,
) -> tuple[str, Reply]:
    """The path as metrics have it, and what to answer.

    Raises ClientGone, and TimeoutError when it takes longer than a request may take.
    """
    headers = scope["headers"]
    received = time.perf_counter()
    made: list[tuple[float, Made, float]] = []  # at most one, and when it began and ended

    async def predict(data: Any, params: dict[str, Any] | None) -> Any:
        decoded = time.perf_counter()
        one = await predictor.predict(headers, receive, data, params)
        made.append((decoded, one, time.perf_counter()))
        return one.predictions

    served = loaded.served(settings, predict)
    try:
        told = await routes.handle(scope["method"], scope["path"], headers, body, served)
    except (ClientGone, TimeoutError, asyncio.CancelledError):
        raise
    except (Exception, TooManyRows) as problem:
        return INFER, refused(refusal_of(problem))
    if not made:
        return told.route, _reply(told, None)
    decoded, one, predicted = made[0]
    predictor.record(one, decoded - received, time.perf_counter() - predicted)
    return told.route, _reply(told, one.rows)


def refused(refusal: Refusal) -> Reply:
    """A refusal as the protocol says it."""
    body = routes.refusal(refusal.status, refusal.message).body
    return Reply(refusal.status, body, headers=refusal.headers)


def _reply(told: Answer, rows: int | None) -> Reply:
    kind = dict(told.headers).get(b"content-type", JSON.encode()).decode()
    others = tuple(one for one in told.headers if one[0] != b"content-type")
    return Reply(told.status, told.body, kind, others, rows)
