"""Requests to a tracking server, bounded in time and size.

The operator's own server is asked by MLflow's client code, so whatever MLflow knows of
authentication, certificates and header plugins works. A server that a resource names is asked
without any of that: nothing of ours is sent to it, and nothing of it is relied on.
"""

from __future__ import annotations

import asyncio
import base64
import json
import os
import socket
import ssl
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache
from http import HTTPStatus
from typing import Any, Protocol
from urllib.parse import urlsplit
from urllib.request import getproxies_environment, proxy_bypass

import aiohttp
import certifi

from mlflow_model_operator import __version__

# Seconds to connect, to wait for a part of an answer, and for the whole of a request. A registry
# takes milliseconds.
CONNECT_TIMEOUT, READ_TIMEOUT, REQUEST_TIMEOUT = 3.0, 10.0, 15.0
# A server that anybody may name must not fill our memory.
MAX_RESPONSE_BYTES = 262_144
MAX_CONNECTIONS = 4  # to one server

_CHUNK_BYTES = 65_536
_MIN_SECRET = 4  # characters: of shorter passwords a message would lose its words
# What a request on a kept connection meets when the server has closed it.
_CLOSED = (ConnectionResetError, BrokenPipeError)
_DISCONNECTED = (*_CLOSED, aiohttp.ServerDisconnectedError, aiohttp.ClientPayloadError)

Response = tuple[int, bytes]  # status and body


class Unreachable(Exception):
    """No response; the message says why in a few words, the same at each try."""


class TooLarge(ValueError):
    """A response of more than MAX_RESPONSE_BYTES."""


class Client(Protocol):
    """Sends requests to one server."""

    uri: str
    is_own: bool  # the operator's own server, which gets its credentials

    async def get(self, path: str, query: dict[str, str], first: int | None = None) -> Response:
        """Raises Unreachable or TooLarge. `first`: so many bytes of the body are read."""

    async def close(self) -> None:
        """Closes the connections."""


def load_mlflow() -> None:
    """Imports MLflow's client code, which takes a second or two and 35 MiB."""
    import mlflow.tracking.request_header.registry
    import mlflow.utils.credentials
    import mlflow.utils.rest_utils  # noqa: F401


class OwnServerClient:
    """Sends requests to the operator's own server, by MLflow's client, in a few threads."""

    is_own = True

    def __init__(self, uri: str) -> None:
        self.uri = uri
        self._threads = ThreadPoolExecutor(MAX_CONNECTIONS, thread_name_prefix="registry")

    async def get(self, path: str, query: dict[str, str], first: int | None = None) -> Response:
        """See Client."""
        return await self._in_thread("GET", path, query, first)

    async def post(self, path: str, body: dict[str, str]) -> Response:
        """Sends a body that may be sent twice; raises Unreachable or TooLarge."""
        return await self._in_thread("POST", path, body, None)

    async def close(self) -> None:
        """See Client."""
        self._threads.shutdown(wait=False, cancel_futures=True)

    async def _in_thread(
        self, method: str, path: str, fields: dict[str, str], first: int | None
    ) -> Response:
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.timeout(REQUEST_TIMEOUT):
                return await loop.run_in_executor(
                    self._threads, self._send, method, path, fields, first
                )
        except TimeoutError as error:
            raise Unreachable(_describe([error])) from error

    def _send(self, method: str, path: str, fields: dict[str, str], first: int | None) -> Response:
        from mlflow.exceptions import MlflowException
        from requests import RequestException

        for is_last in (False, True):
            try:
                return self._send_once(method, path, fields, first)
            except (MlflowException, RequestException, TimeoutError) as error:
                causes = list(_causes(error))
                # A kept connection that the server has closed meanwhile is no failure yet.
                if is_last or not any(isinstance(cause, _CLOSED) for cause in causes):
                    raise Unreachable(_describe(causes)) from error
        raise AssertionError("unreachable")

    def _send_once(
        self, method: str, path: str, fields: dict[str, str], first: int | None
    ) -> Response:
        from mlflow.utils.credentials import get_default_host_creds
        from mlflow.utils.rest_utils import http_request

        deadline = time.monotonic() + REQUEST_TIMEOUT
        credentials = get_default_host_creds(self.uri)
        response = http_request(
            credentials,
            path,
            method,
            **{"params" if method == "GET" else "json": fields},
            stream=True,
            timeout=(CONNECT_TIMEOUT, READ_TIMEOUT),
            max_retries=0,
            backoff_factor=0,
            backoff_jitter=0,
            respect_retry_after_header=False,
            raise_on_status=False,
        )
        with response:
            body = _read(response, path, first, deadline)
        if response.status_code >= HTTPStatus.BAD_REQUEST:
            body = _without_login(body, credentials)
        return response.status_code, body


def _without_login(body: bytes, credentials: Any) -> bytes:
    """An error without what was sent with the request: errors are shown, and some repeat it."""
    basic = f"{credentials.username}:{credentials.password}".encode()
    secrets = (credentials.token, credentials.password, base64.b64encode(basic).decode())
    for secret in secrets:
        if secret and len(secret) >= _MIN_SECRET:
            body = body.replace(json.dumps(secret)[1:-1].encode(), b"***")
            body = body.replace(secret.encode(), b"***")
    return body


def _read(response: Any, path: str, first: int | None, deadline: float) -> bytes:
    body = b""
    for chunk in response.iter_content(_CHUNK_BYTES):
        body += chunk
        if time.monotonic() > deadline:
            raise TimeoutError
        if _is_enough(body, path, first):
            break
    return body[:first]


class ForeignServerClient:
    """Sends anonymous requests to a server that a resource names; holds no thread."""

    is_own = False

    def __init__(self, uri: str) -> None:
        self.uri = uri
        self._proxy = _proxy_for(uri)
        self._session: aiohttp.ClientSession | None = None

    async def get(self, path: str, query: dict[str, str], first: int | None = None) -> Response:
        """See Client."""
        self._session = self._session or _anonymous_session()
        try:
            async with (
                asyncio.timeout(REQUEST_TIMEOUT),
                # Who may name a server could otherwise have it send us to what only we can reach.
                self._session.get(
                    f"{self.uri}{path}", params=query, allow_redirects=False, proxy=self._proxy
                ) as response,
            ):
                body = b""
                async for chunk in response.content.iter_chunked(_CHUNK_BYTES):
                    body += chunk
                    if _is_enough(body, path, first):
                        break
                return response.status, body[:first]
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            raise Unreachable(_describe(list(_causes(error)))) from error

    async def close(self) -> None:
        """See Client."""
        if self._session is not None:
            await self._session.close()


def _anonymous_session() -> aiohttp.ClientSession:
    timeout = aiohttp.ClientTimeout(sock_connect=CONNECT_TIMEOUT, sock_read=READ_TIMEOUT)
    return aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(limit=MAX_CONNECTIONS, ssl=_tls_context()),
        cookie_jar=aiohttp.DummyCookieJar(),
        timeout=timeout,
        headers={
            "User-Agent": f"mlflow-model-operator/{__version__}",
            # What is decompressed may be a thousand times as much.
            "Accept-Encoding": "identity",
        },
        auto_decompress=False,
        trust_env=False,  # it would send what a .netrc file has for that host
    )


def _proxy_for(uri: str) -> str | None:
    """The proxy that the environment names for requests to `uri`."""
    try:
        host, scheme = urlsplit(uri).hostname, urlsplit(uri).scheme
    except ValueError:
        return None
    is_bypassed = not host or proxy_bypass(host)
    return None if is_bypassed else getproxies_environment().get(scheme)


@lru_cache(maxsize=1)
def _tls_context() -> ssl.SSLContext:
    """The certificate authorities that MLflow's client uses, too."""
    bundles = (os.environ.get(name) for name in ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"))
    return ssl.create_default_context(cafile=next(filter(None, bundles), certifi.where()))


def _is_enough(body: bytes, path: str, first: int | None) -> bool:
    if first is None and len(body) > MAX_RESPONSE_BYTES:
        raise TooLarge(f"{path} is larger than {MAX_RESPONSE_BYTES} bytes")
    return first is not None and len(body) >= first


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    """The error and what it came from, outermost first."""
    while error is not None:
        yield error
        # urllib3 makes some errors without raising them: they only name what they came from.
        argument = next((arg for arg in error.args if isinstance(arg, BaseException)), None)
        error = error.__cause__ or error.__context__ or argument


def _describe(causes: Sequence[BaseException]) -> str:
    """The same words at each try: they end in a status, which must not change for nothing."""
    for cause in causes:
        match cause:
            case TimeoutError():
                return "no answer in time"
            case socket.gaierror():
                return "host name not found"
            case ConnectionRefusedError():
                return "connection refused"
            case ssl.SSLError():
                return _describe_tls(causes)
            case _ if isinstance(cause, _DISCONNECTED):
                return "connection closed"
    texts = (cause.strerror for cause in causes if isinstance(cause, OSError) and cause.strerror)
    text = next(texts, None)
    return text.lower() if text else type(causes[-1]).__name__


def _describe_tls(causes: Sequence[BaseException]) -> str:
    texts = (
        getattr(cause, name, None) for name in ("verify_message", "reason") for cause in causes
    )
    why = next((text for text in texts if isinstance(text, str) and text), "no reason given")
    help_ = "for a private CA, set the chart value trackingCaConfigMap"
    return f"TLS handshake failed ({why}); {help_}"
