"""Reading a request and sending an answer, by ASGI. See https://asgi.readthedocs.io/."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

from mlflow_model_server.inference.client import ClientGone, Receive
from mlflow_model_server.responses import Reply

Scope = dict[str, Any]
Send = Callable[[dict[str, Any]], Awaitable[None]]


class TooLong(Exception):
    """The body has more bytes than a request may have."""


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
