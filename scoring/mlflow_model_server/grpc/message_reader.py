"""Reads the messages of calls, a bounded number at the same time."""

from __future__ import annotations

import asyncio

import grpc

from mlflow_model_server.compat import timeout
from mlflow_model_server.inference.limits import Reservation
from mlflow_model_server.inference.request import ClientGone
from mlflow_model_server.responses import ErrorResponse, Rejected

_TIMEOUT = 10.0  # seconds, from the admission of a call until its message has arrived
_TOO_SLOW = ErrorResponse(504, "DEADLINE_EXCEEDED", f"no message has arrived within {_TIMEOUT:g} s")


class MessageReader:
    """Messages take memory while they arrive, before their size is known: so only so many do."""

    def __init__(self, maximum: int) -> None:
        self._arriving = asyncio.Semaphore(max(1, maximum))

    async def read(self, context: grpc.aio.ServicerContext) -> bytes:
        """The first message of a call. Raises Rejected, and ClientGone where there is none."""
        try:
            async with timeout(_TIMEOUT), self._arriving:
                message = await context.read()
        except TimeoutError:
            raise Rejected(_TOO_SLOW) from None
        if message is grpc.aio.EOF:
            raise ClientGone
        return bytes(message)


class MessageBody:
    """The message of a call as a request's body; of a stream, the next message."""

    disconnected = None  # gRPC cancels the call's task

    def __init__(self, context: grpc.aio.ServicerContext, reader: MessageReader) -> None:
        self._context = context
        self._reader = reader

    async def read(self, reservation: Reservation) -> bytes:
        """Raises Rejected, and ClientGone where there is none."""
        message = await self._reader.read(self._context)
        reservation.grow(len(message))
        return message
