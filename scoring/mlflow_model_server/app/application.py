"""The server's routes, and the way of a prediction through it."""

from __future__ import annotations

import asyncio
import contextvars
import json
import logging
import os
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any, TypeVar

from mlflow_model_server.app.asgi import (
    ClientGone,
    Receive,
    Scope,
    Send,
    TooLong,
    header,
    read_body,
    send_reply,
    unless_gone,
)
from mlflow_model_server.batch import Batcher, Outcome
from mlflow_model_server.guard.gate import Gate
from mlflow_model_server.model.loading import Loaded
from mlflow_model_server.model.plan import ColumnPlan, Unsure
from mlflow_model_server.observe import trace
from mlflow_model_server.observe.recorder import Recorder
from mlflow_model_server.protocol import decode, encode
from mlflow_model_server.protocol.fallback import (
    Fallback,
    Reply,
    TooManyRows,
    error,
    reply_to,
)
from mlflow_model_server.settings import Settings

log = logging.getLogger(__name__)
T = TypeVar("T")

INVOCATIONS = "/invocations"
INFER = "/v2/models/{model}/infer"
_GETS = ("/ping", "/health", "/version", "/openapi.json")
# MLflow's, byte for byte.
_ALIVE = Reply(200, b"\n")
_TIMEOUT = error(504, "DEADLINE_EXCEEDED", "predicting took longer than a request may take")


class Application:
    """An ASGI application that serves one model."""

    def __init__(
        self, loaded: Loaded, settings: Settings, recorder: Recorder, gate: Gate | None
    ) -> None:
        self._loaded = loaded
        self._settings = settings
        self._recorder = recorder
        self._gate = gate
        self._fallback = Fallback(loaded.model, settings.max_rows)
        self._threads = ThreadPoolExecutor(_threads(), "mlflow")
        self._batcher = self._make_batcher()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answers one request, or a lifespan event."""
        if scope["type"] == "lifespan":
            await _lifespan(receive, send)
            return
        if scope["type"] != "http":
            return
        began = time.perf_counter()
        route = scope["path"]
        recorder = self._recorder
        recorder.in_flight += 1
        try:
            if route == INVOCATIONS:
                reply = await self._invocations(scope, receive)
            else:
                route, reply = await self._other(scope, receive)
            await send_reply(send, reply)
            recorder.finished(route, reply.status, time.perf_counter() - began)
        except ClientGone:
            recorder.finished(route, 499, time.perf_counter() - began)  # nginx's number for it
        finally:
            recorder.in_flight -= 1

    async def _invocations(self, scope: Scope, receive: Receive) -> Reply:
        if scope["method"] != "POST":
            return _not_allowed("POST")
        if refused := self._refused(scope):
            return refused
        began = time.perf_counter()
        try:
            body = await read_body(receive, self._settings.max_body_bytes)
        except TooLong:
            return self._too_long()
        reply = await self._predict(scope, receive, body)
        self._log(INVOCATIONS, scope, body, reply, began)
        return reply

    async def _predict(self, scope: Scope, receive: Receive, body: bytes) -> Reply:
        """The quick way if the request is plainly right, else MLflow's own."""
        headers = scope["headers"]
        content_type = header(headers, b"content-type")
        try:
            if self._batcher is not None and decode.is_json(content_type):
                try:
                    return await self._quick(receive, body)
                except (Unsure, encode.NotPlain):
                    pass
                except (ClientGone, TimeoutError):
                    raise
                except Exception as problem:  # MLflow's own code knows how to say it
                    log.debug("MLflow's own way is tried: %s", problem)
            text = None if content_type is None else content_type.decode("latin-1")
            work: Callable[[], Reply] = partial(self._fallback.answer, body, text)
            slow: Reply = await self._in_thread(receive, headers, work)
            return slow
        except TimeoutError:
            return _TIMEOUT

    async def _quick(self, receive: Receive, body: bytes) -> Reply:
        """Raises whatever hinders it: nothing has been answered then."""
        began = time.perf_counter()
        batcher, plan = self._batcher, self._loaded.plan
        assert batcher is not None and plan is not None
        if isinstance(plan, ColumnPlan):
            rows: Any = decode.rows_of(body, plan)
            plan.check(rows)
        else:
            rows = decode.tensor_of(body, plan)
        count = len(rows)
        if count > self._settings.max_rows:
            raise Unsure
        decoded = time.perf_counter()
        outcome = await self._outcome(receive, batcher.submit(rows, count), count)
        predicted = time.perf_counter()
        encoded = encode.encode(outcome.predictions, outcome.finite)
        self._recorder.phases(
            outcome.queued, decoded - began, outcome.predicted, time.perf_counter() - predicted
        )
        return Reply(200, encoded)

    async def _outcome(
        self, receive: Receive, future: asyncio.Future[Outcome], count: int
    ) -> Outcome:
        assert self._batcher is not None
        if self._batcher.is_quick(count):
            return await future
        return await unless_gone(receive, future, self._settings.request_timeout)

    async def _in_thread(self, receive: Receive, headers: Any, work: Callable[[], Any]) -> Any:
        with trace.passed_on(headers):
            context = contextvars.copy_context()
        running = asyncio.get_running_loop().run_in_executor(self._threads, context.run, work)
        return await unless_gone(receive, running, self._settings.request_timeout)

    async def _other(self, scope: Scope, receive: Receive) -> tuple[str, Reply]:
        path, method = scope["path"], scope["method"]
        if path in _GETS:
            return path, self._get(path) if method == "GET" else _not_allowed("GET")
        if path == "/v2" or path.startswith("/v2/"):
            return await self._openinference(scope, receive)
        if path[:-1] in (INVOCATIONS, *_GETS) and path.endswith("/"):
            return "other", _redirect(scope, path[:-1])
        return "other", Reply(404, b'{"detail":"Not Found"}')

    def _get(self, path: str) -> Reply:
        if path == "/version":
            from mlflow.version import VERSION

            return Reply(200, VERSION.encode())
        if path == "/openapi.json":
            return Reply(200, self._openapi())
        return _ALIVE

    def _openapi(self) -> bytes:
        from mlflow_model_server import openapi

        served = self._loaded.served(self._settings, _no_prediction)
        secured = self._gate is not None
        return json.dumps(openapi.document(served.known_as, served.version, secured)).encode()

    async def _openinference(self, scope: Scope, receive: Receive) -> tuple[str, Reply]:
        # Imported with the first request: most servers never see one.
        from mlflow_model_server.openinference import routes

        began = time.perf_counter()
        path = scope["path"]
        if path.endswith("/infer") and (refused := self._refused(scope)):
            message = json.loads(refused.body)["message"]
            answer = routes.refusal(refused.status, message, INFER)
            return INFER, Reply(answer.status, answer.body, headers=refused.headers)
        try:
            body = await read_body(receive, self._settings.max_body_bytes)
        except TooLong:
            message = json.loads(self._too_long().body)["message"]
            return INFER, Reply(413, routes.refusal(413, message).body)
        predict = partial(self._predict_data, receive, scope["headers"])
        served = self._loaded.served(self._settings, predict)
        try:
            answer = await routes.handle(scope["method"], path, scope["headers"], body, served)
        except (ClientGone, asyncio.CancelledError):
            raise
        except TimeoutError:
            answer = routes.refusal(504, json.loads(_TIMEOUT.body)["message"], INFER)
        except (Exception, TooManyRows) as problem:
            reply = reply_to(problem)
            message = json.loads(reply.body)["message"]
            answer = routes.refusal(reply.status, message, INFER)
        told = dict(answer.headers).get(b"content-type", b"application/json").decode()
        others = tuple(one for one in answer.headers if one[0] != b"content-type")
        reply = Reply(answer.status, answer.body, told, others)
        if answer.route == INFER:
            self._log(INFER, scope, body, reply, began)
        return answer.route, reply

    async def _predict_data(
        self, receive: Receive, headers: Any, data: Any, params: dict[str, Any] | None
    ) -> Any:
        """Predictions for data that the Open Inference Protocol brought."""
        from mlflow_model_server.openinference import codec
        from mlflow_model_server.openinference.metadata import spec_of

        framed = codec.frame_of(data, spec_of(self._loaded.signature))
        return await self._in_thread(
            receive, headers, partial(self._fallback.predict, framed, params)
        )

    def _refused(self, scope: Scope) -> Reply | None:
        """Who may not ask, and whom there is no room for, is told at once."""
        if self._gate is not None:
            client = scope.get("client")
            refusal = self._gate.admit(scope["headers"], client[0] if client else "")
            if refusal is not None:
                headers = tuple(refusal.headers)
                return error(refusal.status, refusal.error_code, refusal.message, headers)
        if self._recorder.in_flight > self._settings.max_queue:
            return error(
                503,
                "TEMPORARILY_UNAVAILABLE",
                f"{self._settings.max_queue} requests are waiting already: try again in 1 s",
                ((b"retry-after", b"1"),),
            )
        return None

    def _too_long(self) -> Reply:
        most = self._settings.max_body_bytes
        return error(413, "BAD_REQUEST", f"the body is longer than {most} bytes: send fewer rows")

    def _log(self, route: str, scope: Scope, body: bytes, reply: Reply, began: float) -> None:
        request_log = self._recorder.request_log
        if request_log is None or not request_log.wants():
            return
        request_log.write(
            route,
            reply.status,
            time.perf_counter() - began,
            request=body,
            response=reply.body,
            traceparent=trace.traceparent(scope["headers"]),
            caller=self._gate.caller if self._gate else "",
        )

    def _make_batcher(self) -> Batcher | None:
        loaded = self._loaded
        if loaded.direct is None:
            return None
        together = loaded.direct.independent and self._settings.batching != "off"
        if self._settings.batching == "on":
            together = True
        return Batcher(
            partial(_predict_together, loaded), together, loaded.direct.prepare_thread, self._seen
        )

    def _seen(self, requests: int, rows: int, seen: Any) -> None:
        self._recorder.batch(requests, rows)
        if seen is not None:
            self._recorder.rows(*seen)


def _predict_together(loaded: Loaded, parts: Any) -> tuple[Any, bool, Any]:
    assert loaded.direct is not None
    data = loaded.joined(parts)
    predictions = loaded.direct.predict(data)
    lists, finite = encode.plain(predictions)
    return lists, finite, (data, predictions)


async def _no_prediction(_data: Any, _params: Any) -> Any:
    raise NotImplementedError


def _threads() -> int:
    return min(32, (os.cpu_count() or 1) + 4)


def _not_allowed(method: str) -> Reply:
    body = b'{"detail":"Method Not Allowed"}'
    return Reply(405, body, headers=((b"allow", method.encode()),))


def _redirect(scope: Scope, path: str) -> Reply:
    """To the path without a slash, as MLflow's framework does."""
    host = header(scope["headers"], b"host") or b""
    location = b"%s://%s%s" % (scope["scheme"].encode(), host, path.encode())
    return Reply(307, b"", "", ((b"location", location),))


async def _lifespan(receive: Receive, send: Send) -> None:
    while True:
        message = await receive()
        await send({"type": f"{message['type']}.complete"})
        if message["type"] == "lifespan.shutdown":
            return
