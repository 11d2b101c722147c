"""Load on one server, from a process of its own: python -m benchmarks.scoring.load ….

Closed loop: each client has one connection, sends its request, waits for the full answer, and
sends the next. The time of a request is from before its first byte is written until the last byte
of its answer is read. Nothing but the standard library and uvloop, so that it costs little beside
the server.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import cast

import uvloop

SECONDS_TO_WARM_UP = 1.0
SECONDS_TO_ANSWER = 60.0
# No JSON of predictions ends so.
_LAST_CHUNK = b"0\r\n\r\n"


@dataclass(frozen=True)
class Measured:
    """What one run of load gave; times in seconds."""

    requests: int
    seconds: float
    times: list[float]  # of each request that ended within the time measured
    answered: int  # all requests, those of the warming up among them
    wrong: int  # answers that were not 200


class Client(asyncio.Protocol):
    """One connection that is never idle."""

    def __init__(self, request: bytes, ended: asyncio.Future[None]) -> None:
        self.times: list[tuple[float, float]] = []  # when answered, how long it took
        self.wrong = 0
        self.stopping = False
        self._request = request
        self._ended = ended
        self._buffer = b""
        self._missing = -1  # bytes of the answer that are to come; below 0: its head is incomplete

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Sends the first request."""
        self._transport = cast(asyncio.Transport, transport)
        self._send()

    def data_received(self, data: bytes) -> None:
        """Sends the next request as soon as the answer is complete."""
        if self._missing >= 0:
            self._missing -= len(data)
        else:
            self._buffer += data
            head, found, rest = self._buffer.partition(b"\r\n\r\n")
            if not found:
                return
            length = content_length(head)
            if length is None and not rest.endswith(_LAST_CHUNK):
                return
            self._missing = 0 if length is None else length - len(rest)
            self.wrong += not head.startswith(b"HTTP/1.1 200 ")
        if self._missing == 0:
            now = time.perf_counter()
            self.times.append((now, now - self._sent))
            if self.stopping:
                self._transport.close()
            else:
                self._send()

    def connection_lost(self, error: Exception | None) -> None:
        """Ends the run with an error if the server closed the connection."""
        if self._ended.done():
            return
        if self.stopping:
            self._ended.set_result(None)
        else:
            self._ended.set_exception(error or ConnectionError("the server closed the connection"))

    def _send(self) -> None:
        self._buffer, self._missing = b"", -1
        self._sent = time.perf_counter()
        self._transport.write(self._request)


def content_length(head: bytes) -> int | None:
    """That of a response's body; None: it comes in chunks. Raises ValueError if it has neither."""
    for line in head.split(b"\r\n"):
        name, _, value = line.partition(b":")
        if name.lower() == b"content-length":
            return int(value)
        if name.lower() == b"transfer-encoding":
            return None
    raise ValueError(f"an answer without content-length: {head!r}")


def request_bytes(port: int, path: str, headers: Mapping[str, str], body: bytes) -> bytes:
    """One whole HTTP/1.1 request."""
    lines = {"Host": f"127.0.0.1:{port}", **headers, "Content-Length": str(len(body))}
    head = "".join(f"{name}: {value}\r\n" for name, value in lines.items())
    return f"POST {path} HTTP/1.1\r\n{head}\r\n".encode() + body


async def load(request: bytes, port: int, clients: int, seconds: float) -> Measured:
    """Keeps `clients` requests in flight for `seconds`, after a second that does not count.

    Raises ConnectionError if the server closes a connection, TimeoutError if it hangs.
    """
    loop = asyncio.get_running_loop()
    running, ends = [], []
    for _ in range(clients):
        ended: asyncio.Future[None] = loop.create_future()
        client = Client(request, ended)
        await loop.create_connection(lambda client=client: client, "127.0.0.1", port)  # type: ignore[misc]
        running.append(client)
        ends.append(ended)
    await _while_none_fails(ends, SECONDS_TO_WARM_UP)
    start = time.perf_counter()
    await _while_none_fails(ends, seconds)
    stop = time.perf_counter()
    for client in running:
        client.stopping = True
    await asyncio.wait_for(asyncio.gather(*ends), SECONDS_TO_ANSWER)
    times = [took for client in running for at, took in client.times if start < at <= stop]
    answered = sum(len(client.times) for client in running)
    wrong = sum(client.wrong for client in running)
    return Measured(len(times), stop - start, times, answered, wrong)


async def _while_none_fails(ends: list[asyncio.Future[None]], seconds: float) -> None:
    done, _ = await asyncio.wait(ends, timeout=seconds, return_when=asyncio.FIRST_EXCEPTION)
    for end in done:
        end.result()


def main() -> None:
    """Prints what it measured as JSON."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.scoring.load")
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--path", required=True)
    parser.add_argument("--headers", type=json.loads, default={}, help="an object of JSON")
    parser.add_argument("--body", type=Path, required=True, help="a file with what to send")
    parser.add_argument("--clients", type=int, required=True)
    parser.add_argument("--seconds", type=float, required=True)
    given = parser.parse_args()
    request = request_bytes(given.port, given.path, given.headers, given.body.read_bytes())
    run = load(request, given.port, given.clients, given.seconds)
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        json.dump(asdict(runner.run(run)), sys.stdout)


if __name__ == "__main__":
    main()
