"""Reading a request and sending an answer, by ASGI. See https://asgi.readthedocs.io/."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

from mlflow_model_server.protocol.reply import Reply

Scope = dict[str, Any]
Receive = Callable[[], Awaitable[dict[str, Any]]]
Send = Callable[[dict[str, Any]], Awaitable[None]]
T = TypeVar("T")


class TooLong(Exception):
    """The body has more bytes than a request may have."""


class ClientGone(Exception):
    """Nobody waits for the answer any more."""


async def read_body(receive: Receive, most: int) -> bytes:
    """The whole body. Raises TooLong beyond `most` bytes, ClientGone if it does not end."""
    message = await receive()
    body: bytes = message.get("body", b"")
    if not message.get("more_body"):
        if len(body) > most:
            raise TooLong
        return body
    parts, length = [body], len(body)
    while message.get("more_body"):
        message = await receive()
        if message["type"] == "http.disconnect":
            raise ClientGone
        parts.append(message.get("body", b""))
        length += len(parts[-1])
        if length > most:
            raise TooLong
    return b"".join(parts)


async def send_reply(send: Send, reply: Reply) -> None:
    """Sends all of it."""
    start = {"type": "http.response.start", "status": reply.status, "headers": reply.all_headers}
    await send(start)
    await send({"type": "http.response.body", "body": reply.body})


async def unless_gone(receive: Receive, future: asyncio.Future[T], seconds: float) -> T:
    """The future's result, waited for while the client waits.

    Raises ClientGone when the client has left and TimeoutError after `seconds`; the future is
    cancelled then.
    """
    gone = asyncio.ensure_future(_until_gone(receive))
    try:
        async with asyncio.timeout(seconds):
            both: set[asyncio.Future[Any]] = {future, gone}
            await asyncio.wait(both, return_when=asyncio.FIRST_COMPLETED)
        if not future.done():
            raise ClientGone
        return future.result()
    finally:
        gone.cancel()
        future.cancel()


async def _until_gone(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
