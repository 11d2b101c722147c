"""The server's routes, and the way of a request through it."""

from __future__ import annotations

import json
import time
from collections.abc import Callable

from mlflow_model_server import tracing
from mlflow_model_server.auth.admission import Gate
from mlflow_model_server.headers import Headers, first
from mlflow_model_server.http.asgi import Scope, Send, TooLong, read_body, send_reply
from mlflow_model_server.inference.client import ClientGone, Receive
from mlflow_model_server.inference.predictor import Predictor
from mlflow_model_server.metrics.recorder import Recorder
from mlflow_model_server.metrics.slots import INFER, INVOCATIONS, OTHER
from mlflow_model_server.model.loading import Loaded
from mlflow_model_server.responses import Refusal, Reply
from mlflow_model_server.settings import Settings

_GETS = ("/ping", "/health", "/version", "/openapi.json")
# All that is answered without a key, a token or a place in the queue: what probes ask for. Any
# other route, known or not, needs what the settings ask for.
OPEN_ROUTES = frozenset({"/ping", "/health", "/version", "/v2/health/live", "/v2/health/ready"})
# MLflow's, byte for byte.
_ALIVE = Reply(200, b"\n")
GONE = 499  # nginx's number for a client that has left
TIMEOUT = Refusal(504, "DEADLINE_EXCEEDED", "predicting took longer than a request may take")


class Application:
    """An ASGI application that serves one model; gRPC uses its parts."""

    def __init__(
        self, loaded: Loaded, settings: Settings, recorder: Recorder, gate: Gate | None
    ) -> None:
        self._settings = settings
        self.recorder = recorder
        self._gate = gate
        self.predictor = Predictor(loaded, settings, recorder)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answers one request, or a lifespan event."""
        if scope["type"] == "lifespan":
            await _lifespan(receive, send)
            return
        if scope["type"] != "http":
            return
        began = time.perf_counter()
        route = scope["path"]
        recorder = self.recorder
        recorder.in_flight += 1
        try:
            if route == INVOCATIONS:
                reply = await self._invocations(scope, receive)
            else:
                route, reply = await self._other(scope, receive)
            await send_reply(send, reply)
            recorder.finished(route, reply.status, time.perf_counter() - began)
        except ClientGone:
            recorder.finished(route, GONE, time.perf_counter() - began)
        finally:
            recorder.in_flight -= 1

    def is_express(self, method: str, path: str) -> bool:
        """Whether `begin` may take a request, by its head."""
        return (
            path == INVOCATIONS
            and method == "POST"
            and self._gate is None
            and self.recorder.request_log is None
        )

    def begin(
        self,
        headers: Headers,
        body: bytes | bytearray,
        is_gone: Callable[[], bool],
        answer: Callable[[Reply | None], None],
    ) -> bool:
        """Begins to answer a request that `is_express` and has come whole; False: it does not.

        `answer` is told the reply, or None: the request is to be answered by ASGI then.
        """
        recorder = self.recorder
        settings = self._settings
        if recorder.in_flight >= settings.max_queue or len(body) > settings.max_body_bytes:
            return False
        ongoing = _Ongoing(recorder, is_gone, answer)
        if not self.predictor.begin(headers, body, is_gone, ongoing.settle):
            return False
        recorder.in_flight += 1
        return True

    async def _invocations(self, scope: Scope, receive: Receive) -> Reply:
        if refused := self._refused(scope):
            return refused.reply()
        if scope["method"] != "POST":
            return _not_allowed("POST")
        began, caller = time.perf_counter(), self.caller
        try:
            body = await read_body(receive, self._settings.max_body_bytes)
        except TooLong:
            return self._too_long().reply()
        try:
            reply = await self.predictor.answer(scope["headers"], receive, body)
        except TimeoutError:
            reply = TIMEOUT.reply()
        self.log(INVOCATIONS, scope["headers"], caller, body, reply, began)
        return reply

    async def _other(self, scope: Scope, receive: Receive) -> tuple[str, Reply]:
        path, method = scope["path"], scope["method"]
        if path == "/v2" or path.startswith("/v2/"):
            return await self._openinference(scope, receive)
        if path not in OPEN_ROUTES and (refused := self._refused(scope)):
            return path if path in _GETS else OTHER, refused.reply()
        if path in _GETS:
            return path, self._get(path) if method == "GET" else _not_allowed("GET")
        if path[:-1] in (INVOCATIONS, *_GETS) and path.endswith("/"):
            return OTHER, _redirect(scope, path[:-1])
        return OTHER, Reply(404, b'{"detail":"Not Found"}')

    def _get(self, path: str) -> Reply:
        if path == "/version":
            from mlflow.version import VERSION

            return Reply(200, VERSION.encode())
        if path == "/openapi.json":
            return Reply(200, self._openapi())
        return _ALIVE

    def _openapi(self) -> bytes:
        from mlflow_model_server import openapi
        from mlflow_model_server.inference.served import known_as

        settings, secured = self._settings, self._gate is not None
        name = known_as(settings.model_name)
        return json.dumps(openapi.document(name, settings.model_version, secured)).encode()

    async def _openinference(self, scope: Scope, receive: Receive) -> tuple[str, Reply]:
        # Imported with the first request: most servers never see one.
        from mlflow_model_server.http import openinference

        began, route, caller = time.perf_counter(), openinference.route_of(scope["path"]), ""
        if route not in OPEN_ROUTES:
            if refused := self._refused(scope):
                return route, openinference.refused(refused)
            caller = self.caller
        try:
            # Nothing but `infer` has use for a body.
            body = (
                await read_body(receive, self._settings.max_body_bytes) if route == INFER else b""
            )
        except TooLong:
            return INFER, openinference.refused(self._too_long())
        try:
            route, reply = await openinference.answer(self.predictor, scope, receive, body)
        except TimeoutError:
            route, reply = INFER, openinference.refused(TIMEOUT)
        if route == INFER:
            self.log(INFER, scope["headers"], caller, body, reply, began)
        return route, reply

    def _refused(self, scope: Scope) -> Refusal | None:
        client = scope.get("client")
        return self.refused(scope["headers"], client[0] if client else "")

    def refused(self, headers: Headers, address: str) -> Refusal | None:
        """Who may not ask, and whom there is no room for, is told at once."""
        if self._gate is not None:
            refusal = self._gate.admit(headers, address)
            if refusal is not None:
                return refusal
        if self.recorder.in_flight > self._settings.max_queue:
            return Refusal(
                503,
                "TEMPORARILY_UNAVAILABLE",
                f"{self._settings.max_queue} requests are waiting already: try again in 1 s",
                retry_after=1,
            )
        return None

    def _too_long(self) -> Refusal:
        most = self._settings.max_body_bytes
        return Refusal(413, "BAD_REQUEST", f"the body is longer than {most} bytes: send fewer rows")

    @property
    def caller(self) -> str:
        """Who the last request that was let in is from: to be read before anything is awaited."""
        return self._gate.caller if self._gate else ""

    def log(
        self, route: str, headers: Headers, caller: str, body: bytes, reply: Reply, began: float
    ) -> None:
        """Puts a request into the request log, if there is one and it wants this one."""
        request_log = self.recorder.request_log
        if request_log is None or not request_log.wants():
            return
        request_log.write(
            route,
            reply.status,
            time.perf_counter() - began,
            rows=reply.rows,
            request=body,
            response=reply.body,
            traceparent=tracing.traceparent(headers),
            caller=caller,
        )


class _Ongoing:
    """A request that is being answered without a task."""

    __slots__ = ("_answer", "_began", "_is_gone", "_over", "_recorder")

    def __init__(
        self,
        recorder: Recorder,
        is_gone: Callable[[], bool],
        answer: Callable[[Reply | None], None],
    ) -> None:
        self._began = time.perf_counter()
        self._recorder = recorder
        self._is_gone = is_gone
        self._answer = answer
        self._over = False

    def settle(self, outcome: Reply | BaseException) -> None:
        """Answers, and counts it; whatever hindered the quick way, ASGI goes on then."""
        if self._over:
            return
        self._over = True
        recorder = self._recorder
        recorder.in_flight -= 1
        seconds = time.perf_counter() - self._began
        if self._is_gone():
            recorder.finished(INVOCATIONS, GONE, seconds)
            return
        if isinstance(outcome, TimeoutError):
            outcome = TIMEOUT.reply()
        if isinstance(outcome, BaseException):
            self._answer(None)
            return
        recorder.finished(INVOCATIONS, outcome.status, seconds)
        self._answer(outcome)


def _not_allowed(method: str) -> Reply:
    body = b'{"detail":"Method Not Allowed"}'
    return Reply(405, body, headers=((b"allow", method.encode()),))


def _redirect(scope: Scope, path: str) -> Reply:
    """To the path without a slash, as MLflow's framework does."""
    host = first(scope["headers"], b"host") or b""
    location = b"%s://%s%s" % (scope["scheme"].encode(), host, path.encode())
    return Reply(307, b"", "", ((b"location", location),))


async def _lifespan(receive: Receive, send: Send) -> None:
    while True:
        message = await receive()
        await send({"type": f"{message['type']}.complete"})
        if message["type"] == "lifespan.shutdown":
            return
