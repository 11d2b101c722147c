"""Tracking servers that mean harm: python -m benchmarks.scale.hostile_servers --count 100.

Prints their ports, as JSON, and runs until it is ended.
"""

from __future__ import annotations

import argparse
import asyncio
import itertools
import json
import random
import resource
from asyncio import StreamReader, StreamWriter
from collections.abc import Awaitable, Callable

Behaviour = Callable[[str, StreamWriter], Awaitable[None]]

HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n"
DRIP_SECONDS = 2.0
MANY_ALIASES = 110_000
FILES = 65_536  # connections that may be open at once


async def silent(_: str, __: StreamWriter) -> None:
    """Takes the request and never answers."""
    await asyncio.sleep(86_400)


async def dripping_head(_: str, writer: StreamWriter) -> None:
    """A header that never ends, a byte at a time."""
    await _drip(writer, b"HTTP/1.1 200 OK\r\nX: ")


async def dripping_body(_: str, writer: StreamWriter) -> None:
    """A body that never ends, a byte at a time."""
    await _drip(writer, HEAD + b"Transfer-Encoding: chunked\r\n\r\n", b"1\r\n \r\n")


async def endless(_: str, writer: StreamWriter) -> None:
    """A body that never ends, as fast as it is read."""
    writer.write(HEAD + b"Transfer-Encoding: chunked\r\n\r\n")
    chunk = b"10000\r\n" + b"[" * 65_536 + b"\r\n"
    while True:
        writer.write(chunk)
        await writer.drain()


async def huge(_: str, writer: StreamWriter) -> None:
    """A registered model with more aliases than anybody needs: 4 MB that are right."""
    aliases = [{"alias": f"alias-{n}", "version": "1"} for n in range(MANY_ALIASES)]
    await _answer(writer, {"registered_model": {"name": "m", "aliases": aliases}})


async def nested(_: str, writer: StreamWriter) -> None:
    """JSON that a parser would have to descend into for ever."""
    await _send(writer, b"[" * 200_000)


async def lying(path: str, writer: StreamWriter) -> None:
    """Another version at each poll, and an MLmodel file of one long line."""
    if "get-artifact" in path:
        await _send(writer, b"flavors:\n  python_function:\n    python_version: 1." + b"1" * 60_000)
    elif "model-versions/get" in path:
        await _answer(writer, {"model_version": {"status": "READY"}})
    else:
        version = str(random.randrange(1, 10**6))
        aliases = [{"alias": "champion", "version": version}]
        await _answer(writer, {"registered_model": {"name": "m", "aliases": aliases}})


async def shouting(_: str, writer: StreamWriter) -> None:
    """Errors with text for logs and statuses, other words each time."""
    text = f"no\n2026-01-01 ERROR forged {random.random()} \u202e" + "x" * 5_000
    body = json.dumps({"error_code": "INTERNAL_ERROR", "message": text}).encode()
    await _send(writer, body, b"HTTP/1.1 500 No\r\n")


async def redirecting(_: str, writer: StreamWriter) -> None:
    """To the metadata service of a cloud."""
    await _send(writer, b"", b"HTTP/1.1 302 Found\r\nLocation: http://169.254.169.254/\r\n")


async def hanging_up(_: str, __: StreamWriter) -> None:
    """Ends the connection without an answer."""


BEHAVIOURS: tuple[Behaviour, ...] = (
    silent,
    dripping_head,
    dripping_body,
    endless,
    huge,
    nested,
    lying,
    shouting,
    redirecting,
    hanging_up,
)


async def _drip(writer: StreamWriter, first: bytes, more: bytes = b"x") -> None:
    writer.write(first)
    while True:
        await writer.drain()
        await asyncio.sleep(DRIP_SECONDS)
        writer.write(more)


async def _answer(writer: StreamWriter, body: object) -> None:
    await _send(writer, json.dumps(body).encode())


async def _send(writer: StreamWriter, body: bytes, head: bytes = HEAD) -> None:
    writer.write(head + f"Content-Length: {len(body)}\r\n\r\n".encode() + body)
    await writer.drain()


def _handler(behave: Behaviour) -> Callable[[StreamReader, StreamWriter], Awaitable[None]]:
    async def handle(reader: StreamReader, writer: StreamWriter) -> None:
        try:
            while request := await reader.readuntil(b"\r\n\r\n"):
                await behave(request.split(b" ", 2)[1].decode(), writer)
                if behave is hanging_up:
                    break
        except (OSError, asyncio.IncompleteReadError, asyncio.LimitOverrunError):
            pass  # the operator has had enough
        finally:
            writer.close()

    return handle


async def serve(count: int) -> None:
    """Runs so many servers, of all kinds in turn."""
    behaviours = itertools.islice(itertools.cycle(BEHAVIOURS), count)
    servers = [
        await asyncio.start_server(_handler(behave), "127.0.0.1", 0) for behave in behaviours
    ]
    ports = [server.sockets[0].getsockname()[1] for server in servers]
    print(json.dumps(ports), flush=True)
    await asyncio.gather(*(server.serve_forever() for server in servers))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=100)
    _, hard_limit = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(FILES, hard_limit), hard_limit))
    asyncio.run(serve(parser.parse_args().count))
