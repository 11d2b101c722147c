"""A steady load, from a process of its own: python -m benchmarks.releases.load ….

Open loop: a request starts when its time has come, whether or not others are still answered. Each
is sent once; whatever is not an answer with predictions counts as failed. Writes a line for each:
when it was sent (epoch seconds), seconds until the answer, and the prediction or the failure.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import signal
import time
from pathlib import Path
from typing import TextIO

import uvloop

from benchmarks.scoring.load import content_length, request_bytes

MAX_CONNECTIONS = 2000  # more than this machine needs: what waits is no failure
ANSWER_TIMEOUT = 30.0  # seconds
DRAIN_TIMEOUT = 35.0  # seconds that the last requests get


class Connections:
    """Connections that are kept alive; a request takes an idle one, or opens another."""

    def __init__(self, host: str, port: int, request: bytes) -> None:
        self._host, self._port, self._request = host, port, request
        self._idle: list[tuple[asyncio.StreamReader, asyncio.StreamWriter]] = []

    async def send(self) -> str:
        """The prediction. Raises OSError, EOFError, ValueError or TimeoutError."""
        reader, writer = await self._connection()
        try:
            writer.write(self._request)
            head = await reader.readuntil(b"\r\n\r\n")
            length = content_length(head)
            if length is None:
                raise ValueError(f"a response in chunks: {head[:200]!r}")
            body = await reader.readexactly(length)
        except BaseException:
            writer.close()
            raise
        self._idle.append((reader, writer))
        if not head.startswith(b"HTTP/1.1 200 "):
            raise ValueError(f"{head.split(b' ')[1].decode()} {body[:200]!r}")
        return str(json.loads(body)["predictions"][0])

    async def _connection(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        if self._idle:
            return self._idle.pop()
        return await asyncio.open_connection(self._host, self._port)


async def load(connections: Connections, per_second: float, results: TextIO) -> None:
    """Sends requests until SIGTERM, and waits for the last responses."""
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    pending: set[asyncio.Task[None]] = set()
    due = time.monotonic()
    while not stop.is_set():
        due += 1 / per_second
        await asyncio.sleep(max(0.0, due - time.monotonic()))
        if len(pending) < MAX_CONNECTIONS:
            request = asyncio.create_task(_request(connections, results))
            pending.add(request)
            request.add_done_callback(pending.discard)
        else:
            _write(results, time.time(), 0.0, failure="no connection is free")
    if pending:
        await asyncio.wait(pending, timeout=DRAIN_TIMEOUT)


async def _request(connections: Connections, results: TextIO) -> None:
    start, monotonic = time.time(), time.monotonic()
    try:
        async with asyncio.timeout(ANSWER_TIMEOUT):
            prediction = await connections.send()
    except (OSError, EOFError, ValueError, TimeoutError) as error:
        text = f"{type(error).__name__}: {error}"
        _write(results, start, time.monotonic() - monotonic, failure=text)
    else:
        _write(results, start, time.monotonic() - monotonic, prediction=prediction)


def _write(results: TextIO, start: float, seconds: float, **outcome: str) -> None:
    results.write(json.dumps({"start": start, "seconds": seconds, **outcome}) + "\n")


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.releases.load")
    parser.add_argument("--host", required=True)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--hostname", required=True)
    parser.add_argument("--body", required=True)
    parser.add_argument("--per-second", type=float, required=True)
    parser.add_argument("--results", type=Path, required=True)
    given = parser.parse_args()
    headers = {"Host": given.hostname, "Content-Type": "application/json"}
    request = request_bytes(given.port, "/invocations", headers, given.body.encode())
    connections = Connections(given.host, given.port, request)
    with (
        given.results.open("w", buffering=1) as results,
        asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner,
    ):
        runner.run(load(connections, given.per_second, results))


if __name__ == "__main__":
    main()
