"""GET requests to a tracking server, by MLflow's own client code.

So whatever MLflow knows of authentication, certificates and header plugins works here too. It
blocks: call it from a thread.
"""

from __future__ import annotations

import socket
import ssl
from collections.abc import Iterator, Sequence
from typing import Any

# Seconds to connect and to wait for an answer, which a registry gives in milliseconds.
CONNECT_TIMEOUT, READ_TIMEOUT = 3, 10
# A server that anybody may name must not fill our memory.
MOST_BYTES = 5_000_000

# What a request on a kept connection meets when the server has closed it.
_CLOSED = (ConnectionResetError, BrokenPipeError)


class Unreachable(Exception):
    """No answer; the message says why in a few words, the same at each try."""


class TooLarge(ValueError):
    """An answer of more than MOST_BYTES."""


def load() -> None:
    """Imports MLflow's client code, which takes a second or two and 35 MiB."""
    import mlflow.tracking.request_header.registry
    import mlflow.utils.credentials
    import mlflow.utils.rest_utils  # noqa: F401


class Client:
    """Sends requests to one server. `trusted`: with the operator's own credentials."""

    def __init__(self, uri: str, *, trusted: bool) -> None:
        self.uri = uri
        self.trusted = trusted

    def get(
        self, path: str, query: dict[str, str], again: bool = True, first: int | None = None
    ) -> tuple[int, bytes]:
        """Status and body. Raises Unreachable or TooLarge.

        `again`: a kept connection that the server has closed meanwhile is no failure yet. `first`:
        so many bytes of the body are read, and no more.
        """
        from mlflow.exceptions import MlflowException
        from requests import RequestException

        try:
            return self._get_once(path, query, first)
        except (MlflowException, RequestException) as error:
            causes = list(_causes(error))
            if any(isinstance(cause, _CLOSED) for cause in causes) and again:
                return self.get(path, query, again=False, first=first)
            raise Unreachable(_why(causes)) from error

    def _get_once(self, path: str, query: dict[str, str], first: int | None) -> tuple[int, bytes]:
        from mlflow.utils.rest_utils import http_request

        # Who may name a server could otherwise have it send us to what only we can reach.
        redirects = {} if self.trusted else {"allow_redirects": False}
        response = http_request(
            self._host_creds(),
            path,
            "GET",
            params=query,
            stream=True,
            timeout=(CONNECT_TIMEOUT, READ_TIMEOUT),
            max_retries=0,
            backoff_factor=0,
            backoff_jitter=0,
            respect_retry_after_header=False,
            raise_on_status=False,
            **redirects,
        )
        with response:
            body = b""
            for chunk in response.iter_content(65536):
                body += chunk
                if first is not None and len(body) >= first:
                    return response.status_code, body[:first]
                if len(body) > MOST_BYTES:
                    raise TooLarge(f"{path} is larger than {MOST_BYTES} bytes")
            return response.status_code, body

    def _host_creds(self) -> Any:
        from mlflow.utils.credentials import get_default_host_creds
        from mlflow.utils.rest_utils import MlflowHostCreds

        return (get_default_host_creds if self.trusted else MlflowHostCreds)(self.uri)


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    """The error and what it came from, outermost first."""
    while error is not None:
        yield error
        # urllib3 makes some errors without raising them: they only name what they came from.
        named = next((arg for arg in error.args if isinstance(arg, BaseException)), None)
        error = error.__cause__ or error.__context__ or named


def _why(causes: Sequence[BaseException]) -> str:
    """The same words at each try: they end in a status, which must not change for nothing."""
    for cause in causes:
        match cause:
            case TimeoutError():
                return "it does not answer in time"
            case socket.gaierror():
                return "its host name is unknown"
            case ConnectionRefusedError():
                return "it refuses the connection"
            case ConnectionResetError() | BrokenPipeError():
                return "it closes the connection"
            case ssl.SSLError():
                why = getattr(cause, "verify_message", "") or cause.reason or "no reason given"
                return f"TLS fails ({why}); a CA of your own is named in trackingCaConfigMap"
            case OSError(strerror=str(text)):
                return text.lower()
    return f"{type(causes[-1]).__name__}, without more words"
