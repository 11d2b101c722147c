"""Reading a request and sending a response, by ASGI. See https://asgi.readthedocs.io/."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

from mlflow_model_server.headers import Headers, first
from mlflow_model_server.http import content_encoding
from mlflow_model_server.inference.limits import Reservation
from mlflow_model_server.inference.request import ClientGone
from mlflow_model_server.responses import Response

Scope = dict[str, Any]
Receive = Callable[[], Awaitable[dict[str, Any]]]
Send = Callable[[dict[str, Any]], Awaitable[None]]


class RequestBody:
    """The body of one request."""

    def __init__(self, headers: Headers, receive: Receive) -> None:
        self._headers = headers
        self._receive = receive

    async def read(self, reservation: Reservation) -> bytes:
        """All of it, decoded. Raises Rejected, and ClientGone if it does not end."""
        encoding = content_encoding.encoding_of(self._headers)
        length = first(self._headers, b"content-length")
        if length is not None and length.isdigit() and len(length) < 20:
            reservation.grow(int(length))
        body = await self._read(reservation)
        return body if encoding is None else await content_encoding.decode(body, reservation)

    async def _read(self, reservation: Reservation) -> bytes:
        message = await self._receive()
        body: bytes = message.get("body", b"")
        reservation.grow(len(body))
        if not message.get("more_body"):
            return body
        parts, length = [body], len(body)
        while message.get("more_body"):
            message = await self._receive()
            if message["type"] == "http.disconnect":
                raise ClientGone
            part = message.get("body", b"")
            length += len(part)
            reservation.grow(length)
            parts.append(part)
        return b"".join(parts)

    async def disconnected(self) -> None:
        """Waits until the client has left. For after the body has been read."""
        while (await self._receive())["type"] != "http.disconnect":
            pass


class CopiedBody(RequestBody):
    """The same, for a request that may be copied."""

    content = b""  # what was read

    async def read(self, reservation: Reservation) -> bytes:
        """As RequestBody does."""
        self.content = await super().read(reservation)
        return self.content


class ResponseStream:
    """The response to one request, sent while it is made."""

    def __init__(self, send: Send) -> None:
        self._send = send

    async def start(self, response: Response) -> None:
        """Sends the status and the headers, which say no length."""
        content_type = (b"content-type", response.content_type.encode())
        headers = (*response.headers, content_type)
        await self._send(
            {"type": "http.response.start", "status": response.status, "headers": headers}
        )

    async def write(self, part: bytes) -> None:
        """Sends a part of the body at once."""
        await self._send({"type": "http.response.body", "body": part, "more_body": True})

    async def end(self) -> None:
        """Ends the body."""
        await self._send({"type": "http.response.body", "body": b""})


async def send_response(send: Send, response: Response) -> None:
    """Sends all of it."""
    headers = response.all_headers
    await send({"type": "http.response.start", "status": response.status, "headers": headers})
    await send({"type": "http.response.body", "body": response.body})
