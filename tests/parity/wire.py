"""Asks our server as it runs, by uvicorn's HTTP with the inline path, without a socket between."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any, Self, TypeVar

import uvicorn
from uvicorn.server import ServerState

from mlflow_model_server.http.app import Application
from mlflow_model_server.http.protocol import http_protocol
from tests.parity.asgi import SECONDS_TO_ANSWER, Answer, Request, Scope

T = TypeVar("T")


class Wire(asyncio.Transport):
    """A connection's other end: keeps what is written, and says when that is a whole answer."""

    def __init__(self, with_body: bool) -> None:
        super().__init__({"peername": ("127.0.0.1", 50000), "sockname": ("127.0.0.1", 8080)})
        self.written = b""
        self._with_body = with_body
        self.answered = asyncio.Event()
        self._closing = False

    def write(self, data: Any) -> None:
        """Takes a part of the answer."""
        self.written += data
        head, complete, body = self.written.partition(b"\r\n\r\n")
        length = int(_headers(head).get("content-length", 0)) if self._with_body else 0
        if complete and len(body) >= length:
            self.answered.set()

    def answer(self, raised: BaseException | None) -> Answer:
        """All that was written."""
        head, _, body = self.written.partition(b"\r\n\r\n")
        return Answer(int(head.split()[1]), _headers(head), body, raised)

    def is_closing(self) -> bool:
        """Whether `close` was called."""
        return self._closing

    def close(self) -> None:
        """The answer ends here."""
        self._closing = True
        self.answered.set()

    def pause_reading(self) -> None:
        """All was read at once."""

    def resume_reading(self) -> None:
        """All was read at once."""


class WireServer:
    """Runs our application under uvicorn's protocol, as `serve` does; a context manager."""

    def __init__(self, app: Application) -> None:
        self._runner = asyncio.Runner()
        self._app = app
        self.by_asgi = 0  # requests that did not take the inline path
        self._raised: list[BaseException] = []
        self._config = uvicorn.Config(
            self._watched,
            interface="asgi3",
            http=http_protocol(app.service),
            log_config=None,
            lifespan="off",
        )
        self._state = ServerState()

    def __enter__(self) -> Self:
        self._config.load()
        return self

    def __exit__(self, *_: object) -> None:
        self._runner.close()

    def answer(self, request: Request) -> Answer:
        """Its answer; raises TimeoutError if it takes longer than a minute."""
        return self._runner.run(self._ask(request))

    def answers(self, requests: list[Request]) -> list[Answer]:
        """The answers to requests that are all in flight at the same time."""

        async def all_of_them() -> list[Answer]:
            return await asyncio.gather(*map(self._ask, requests))

        return self._runner.run(all_of_them())

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        """Runs something in the loop that serves."""
        return self._runner.run(work)

    def connection(self) -> Any:
        """What speaks HTTP with one client; call it in the loop."""
        return self._config.http_protocol_class(  # type: ignore[call-arg]
            config=self._config, server_state=self._state, app_state={}
        )

    async def _ask(self, request: Request) -> Answer:
        protocol = self.connection()
        wire = Wire(with_body=request.method != "HEAD")
        protocol.connection_made(wire)
        protocol.data_received(raw(request))
        await asyncio.wait_for(wire.answered.wait(), SECONDS_TO_ANSWER)
        protocol.connection_lost(None)
        return wire.answer(self._raised.pop() if self._raised else None)

    async def _watched(self, scope: Scope, receive: Any, send: Any) -> None:
        """The application; uvicorn only logs what escapes from it."""
        self.by_asgi += 1
        try:
            await self._app(scope, receive, send)
        except Exception as error:
            self._raised.append(error)
            raise


def raw(request: Request) -> bytes:
    """The request as it is sent."""
    scope = request.scope()
    query = b"?" + scope["query_string"] if scope["query_string"] else b""
    lines = [
        b"%s %s%s HTTP/1.1" % (request.method.encode(), scope["raw_path"], query),
        *(name + b": " + value for name, value in scope["headers"]),
    ]
    return b"\r\n".join([*lines, b"", request.body])


def _headers(head: bytes) -> dict[str, str]:
    pairs = (line.partition(b": ") for line in head.split(b"\r\n")[1:])
    return {name.decode().lower(): value.decode("latin-1") for name, _, value in pairs}
