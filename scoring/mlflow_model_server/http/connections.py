"""All connections of a worker: how many there are, and that none waits for its client for ever."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mlflow_model_server.http.protocol import HttpProtocol

_UNUSED_TIMEOUT = 60.0  # seconds, from the connection to its first request
_HEAD_TIMEOUT = 10.0  # from the first byte of a request to the end of its head
_MIN_RATE = 1000  # bytes per second, of bodies and responses, after this time:
_BODY_TIMEOUT = 10.0
_WRITE_TIMEOUT = 30.0
_INTERVAL = 1.0


class Pace:
    """The time that a client takes: to send a request, and to read the responses."""

    def __init__(self, connection: HttpProtocol) -> None:
        self._connection = connection
        self.since = connection.loop.time()
        self._writing: tuple[float, int] | None = None  # since when, and the bytes that waited then

    def restart(self) -> None:
        """Now the client begins a request, or may go on with it."""
        self.since = self._connection.loop.time()

    def check(self, now: float) -> None:
        """Ends the connection if its client is too slow."""
        connection = self._connection
        if connection.transport.is_closing():
            return
        if connection.in_message and not self._is_clients_turn():
            self.since = now
        elif now - self.since > self._allowed():
            connection.time_out()
        elif self._reads_too_slowly(now):
            connection.transport.abort()

    def _allowed(self) -> float:
        connection = self._connection
        if connection.in_message:
            if connection.in_head:
                return _HEAD_TIMEOUT
            return _BODY_TIMEOUT + connection.body_bytes / _MIN_RATE
        # Used ones have a time limit of their own, which is long.
        return _UNUSED_TIMEOUT if connection.cycle is None else float("inf")

    def _is_clients_turn(self) -> bool:
        """Whether nothing but the client keeps its request from being complete."""
        connection = self._connection
        if connection.in_head:
            return connection.is_idle
        return not connection.pipeline and not connection.flow.read_paused

    def _reads_too_slowly(self, now: float) -> bool:
        if not self._connection.flow.write_paused:
            self._writing = None
            return False
        waiting = self._connection.transport.get_write_buffer_size()
        if self._writing is None:
            self._writing = now, waiting
        since, at_first = self._writing
        return now - since > _WRITE_TIMEOUT + max(0, at_first - waiting) / _MIN_RATE


async def supervise(connections: Iterable[Any]) -> None:
    """Checks all connections every second, until it is cancelled."""
    loop = asyncio.get_running_loop()
    while True:
        await asyncio.sleep(_INTERVAL)
        now = loop.time()
        for connection in list(connections):
            connection.pace.check(now)


def make_room(connections: Iterable[Any], new: HttpProtocol) -> None:
    """Ends the connection that has been idle for longest; the new one where all are in use."""
    idle = [
        connection
        for connection in connections
        if connection is not new and connection.is_idle and not connection.transport.is_closing()
    ]
    if idle:
        min(idle, key=_idle_since).transport.close()
    else:
        new.refuse()


def _idle_since(connection: HttpProtocol) -> float:
    keep_alive = connection.timeout_keep_alive_task
    if keep_alive is None:
        return connection.pace.since
    return keep_alive.when() - connection.timeout_keep_alive
