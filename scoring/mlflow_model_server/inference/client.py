"""Waiting for a prediction while its client waits."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

Receive = Callable[[], Awaitable[dict[str, Any]]]  # ASGI's
T = TypeVar("T")


class ClientGone(Exception):
    """Nobody waits for the answer any more."""


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
