"""Python's clients: client.py LIBRARY SERVER RELAY FOLDER; see runner.py."""

from __future__ import annotations

import asyncio
import base64
import sys
import urllib.error
import urllib.request
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path

SECONDS = 240
CHUNK = 64 * 1024
JSON = {"Content-Type": "application/json"}
# A method, a URL, headers, a body, and whether that is to be sent in chunks.
Send = Callable[[str, str, dict[str, str], "bytes | None", bool], tuple[int, bytes]]


def chunks(body: bytes) -> Iterator[bytes]:
    for start in range(0, len(body), CHUNK):
        yield body[start : start + CHUNK]


def with_requests() -> Send:
    import requests

    session = requests.Session()

    def send(
        method: str, url: str, headers: dict[str, str], body: bytes | None, chunked: bool
    ) -> tuple[int, bytes]:
        data = chunks(body) if body and chunked else body
        response = session.request(method, url, headers=headers, data=data, timeout=SECONDS)
        return response.status_code, response.content

    return send


def with_httpx() -> Send:
    import httpx

    client = httpx.Client(timeout=SECONDS)

    def send(
        method: str, url: str, headers: dict[str, str], body: bytes | None, chunked: bool
    ) -> tuple[int, bytes]:
        content = chunks(body) if body and chunked else body
        response = client.request(method, url, headers=headers, content=content)
        return response.status_code, response.content

    return send


def with_aiohttp() -> Send:
    import aiohttp

    loop = asyncio.new_event_loop()

    async def parts(body: bytes) -> AsyncIterator[bytes]:
        for part in chunks(body):
            yield part

    async def start() -> aiohttp.ClientSession:
        return aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(SECONDS))

    session = loop.run_until_complete(start())

    async def exchange(
        method: str, url: str, headers: dict[str, str], body: bytes | None, chunked: bool
    ) -> tuple[int, bytes]:
        expects = headers.pop("Expect", None) is not None
        data = parts(body) if body and chunked else body
        async with session.request(
            method, url, headers=headers, data=data, expect100=expects
        ) as response:
            return response.status, await response.read()

    return lambda *request: loop.run_until_complete(exchange(*request))


def with_urllib() -> Send:
    def send(
        method: str, url: str, headers: dict[str, str], body: bytes | None, chunked: bool
    ) -> tuple[int, bytes]:
        data = chunks(body) if body and chunked else body
        request = urllib.request.Request(url, data, headers, method=method)
        try:
            with urllib.request.urlopen(request, timeout=SECONDS) as response:
                return response.status, response.read()
        except urllib.error.HTTPError as error:
            return error.code, error.read()

    return send


LIBRARIES = {
    "requests": with_requests,
    "httpx": with_httpx,
    "aiohttp": with_aiohttp,
    "urllib": with_urllib,
}


def main(library: str, server: str, relay: str, folder: str) -> None:
    """Sends all requests, and prints what comes back."""
    send = LIBRARIES[library]()

    def post(case: str, url: str, name: str, chunked: bool = False, **headers: str) -> None:
        more = {header.replace("_", "-"): value for header, value in headers.items()}
        report(case, *send("POST", url, JSON | more, (Path(folder) / name).read_bytes(), chunked))

    def report(case: str, status: int, body: bytes) -> None:
        print(case, status, base64.b64encode(body).decode(), sep="\t")

    invocations, infer = f"{server}/invocations", f"{server}/v2/models/wine/infer"
    post("invocations", invocations, "invocations")
    post("infer", infer, "infer")
    for _ in range(100):
        post("keep-alive", f"{relay}/invocations", "invocations")
    post("chunked", invocations, "large", chunked=True)
    report("head", *send("HEAD", f"{server}/ping", {}, None, False))
    report("head", *send("GET", f"{server}/ping", {}, None, False))
    post("expect-continue", invocations, "invocations", Expect="100-continue")
    post("gzip", invocations, "gzip", Content_Encoding="gzip")
    post("wrong", invocations, "wrong")
    post("wrong-infer", infer, "wrong")


if __name__ == "__main__":
    main(*sys.argv[1:])
