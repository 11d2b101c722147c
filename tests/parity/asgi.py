"""Asks an ASGI application as a server would, without a socket between."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, Self
from urllib.parse import unquote

Scope = dict[str, Any]
Message = dict[str, Any]
Application = Any  # async (scope, receive, send) -> None

SECONDS_TO_ANSWER = 60
SECONDS_AFTER_ANSWER = 0.5


@dataclass(frozen=True)
class Request:
    """One request, and the words that a failing test names it by."""

    label: str
    body: bytes = b""
    content_type: str | None = "application/json"
    method: str = "POST"
    path: str = "/invocations"
    headers: tuple[tuple[str, str], ...] = ()

    def scope(self) -> Scope:
        """As uvicorn makes it (ASGI 3.0, HTTP connection scope)."""
        headers = [("host", "parity"), ("content-length", str(len(self.body)))]
        if self.content_type is not None:
            headers.append(("content-type", self.content_type))
        path, _, query = self.path.partition("?")
        return {
            "type": "http",
            "asgi": {"version": "3.0", "spec_version": "2.3"},
            "http_version": "1.1",
            "method": self.method,
            "scheme": "http",
            "path": unquote(path),
            "raw_path": path.encode(),
            "query_string": query.encode(),
            "root_path": "",
            "headers": [(k.encode(), v.encode("latin-1")) for k, v in (*headers, *self.headers)],
            "client": ("127.0.0.1", 50000),
            "server": ("127.0.0.1", 8080),
            "state": {},
        }


@dataclass(frozen=True)
class Answer:
    """What came back; `raised` is what escaped from the application, if anything did."""

    status: int
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes = b""
    raised: BaseException | None = None


class Server:
    """Runs an application in an event loop that lives from request to request, with its lifespan.

    Use it as a context manager: leaving it shuts the application down.
    """

    def __init__(self, app: Application) -> None:
        self._app = app
        self._runner = asyncio.Runner()
        self._events: asyncio.Queue[Message] = asyncio.Queue()
        self._lifespan: asyncio.Task[None] | None = None

    def __enter__(self) -> Self:
        self._runner.run(self._start())
        return self

    def __exit__(self, *_: object) -> None:
        self._runner.run(self._stop())
        self._runner.close()

    def answer(self, request: Request) -> Answer:
        """The application's answer; raises TimeoutError if it takes longer than a minute."""
        return self._runner.run(asyncio.wait_for(_answer(self._app, request), SECONDS_TO_ANSWER))

    def answers(self, requests: list[Request]) -> list[Answer]:
        """The answers to requests that are all in flight at the same time."""

        async def all_of_them() -> list[Answer]:
            asked: list[Coroutine[Any, Any, Answer]] = [_answer(self._app, r) for r in requests]
            return await asyncio.wait_for(asyncio.gather(*asked), SECONDS_TO_ANSWER)

        return self._runner.run(all_of_them())

    async def _start(self) -> None:
        started = asyncio.Event()

        async def send(message: Message) -> None:
            assert message["type"].endswith(".complete"), message
            started.set()

        async def live() -> None:
            scope = {"type": "lifespan", "asgi": {"version": "3.0"}, "state": {}}
            try:
                await self._app(scope, self._events.get, send)
            finally:  # an application that knows no lifespan raises at once, and that is right
                started.set()

        self._events.put_nowait({"type": "lifespan.startup"})
        self._lifespan = asyncio.create_task(live())
        await started.wait()

    async def _stop(self) -> None:
        assert self._lifespan is not None
        self._events.put_nowait({"type": "lifespan.shutdown"})
        with suppress(Exception):
            await asyncio.wait_for(self._lifespan, SECONDS_TO_ANSWER)


async def _answer(app: Application, request: Request) -> Answer:
    parts: list[Message] = []
    received = asyncio.Event()
    done = asyncio.Event()

    async def receive() -> Message:
        if not received.is_set():
            received.set()
            return {"type": "http.request", "body": request.body, "more_body": False}
        await done.wait()
        return {"type": "http.disconnect"}

    async def send(message: Message) -> None:
        parts.append(message)
        if message["type"] == "http.response.body" and not message.get("more_body"):
            done.set()

    asked = asyncio.ensure_future(app(request.scope(), receive, send))
    finished = asyncio.ensure_future(done.wait())
    await asyncio.wait({asked, finished}, return_when=asyncio.FIRST_COMPLETED)
    # Most are done with that; after a timeout the prediction still runs.
    await asyncio.wait({asked}, timeout=SECONDS_AFTER_ANSWER)
    finished.cancel()
    # uvicorn logs what escapes, and answers if the application has not yet
    raised = asked.exception() if asked.done() else None
    if not parts:
        return Answer(500, {"content-type": "text/plain"}, b"Internal Server Error", raised)
    headers = {k.decode("latin-1").lower(): v.decode("latin-1") for k, v in parts[0]["headers"]}
    # A server sends none of it to who asks for the head.
    with_body = parts[1:] if request.method != "HEAD" else []
    body = b"".join(part.get("body", b"") for part in with_body)
    return Answer(parts[0]["status"], headers, body, raised)
