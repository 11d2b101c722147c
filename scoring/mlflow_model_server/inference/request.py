"""A request, before its body has been read, whatever transport it came by."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Protocol, TypeVar

from mlflow_model_server.headers import Headers
from mlflow_model_server.inference.limits import Reservation
from mlflow_model_server.inference.routes import Route
from mlflow_model_server.responses import Response

T = TypeVar("T")


class ClientGone(Exception):
    """The client has left: nobody reads the response."""


class DeadlineExceeded(TimeoutError):
    """The prediction took longer than a request may take."""


class Body(Protocol):
    """Where a request's body comes from."""

    async def read(self, reservation: Reservation) -> bytes:
        """All of it; reserves its bytes before they are read.

        Raises Rejected, and ClientGone where it does not end.
        """

    @property
    def disconnected(self) -> Callable[[], Awaitable[None]] | None:
        """Waits until the client has left; None where the transport cancels the task then."""


class Output(Protocol):
    """Where a response goes that is sent while it is made."""

    async def start(self, response: Response) -> None:
        """Sends the status and the headers."""

    async def write(self, part: bytes) -> None:
        """Sends a part of the body at once."""

    async def end(self) -> None:
        """Ends the body."""


@dataclass(frozen=True, slots=True)
class Request:
    """A request for a route. Header names are in lower case."""

    route: Route
    method: str
    headers: Headers
    address: str  # the client's
    body: Body
    reservation: Reservation
    output: Output | None = None  # None: the transport has only whole responses

    async def read(self) -> bytes:
        """Its body. To be called once, and only after the request has been admitted."""
        return await self.body.read(self.reservation)

    async def wait_for(self, future: asyncio.Future[T], timeout: float) -> T:
        """The future's result, waited for while the client waits.

        Raises ClientGone when the client has left, and DeadlineExceeded after `timeout` seconds;
        the future is cancelled then.
        """
        waiting: set[asyncio.Future[object]] = {future}  # type: ignore[arg-type]
        if self.body.disconnected is not None:
            waiting.add(asyncio.ensure_future(self.body.disconnected()))
        try:
            done, _ = await asyncio.wait(
                waiting, timeout=timeout, return_when=asyncio.FIRST_COMPLETED
            )
            if future.done():
                return future.result()
            raise ClientGone if done else DeadlineExceeded
        finally:
            for each in waiting:
                each.cancel()
            # The exception of a future is in a cycle with the frames that have the future.
            del future, waiting
