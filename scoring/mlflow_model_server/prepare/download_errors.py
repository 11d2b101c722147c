"""What stopped a download, as a reason and a sentence: MLflow passes on whatever its libraries say.

Where several files fail, MLflow leaves nothing of their errors but the text.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from urllib.parse import urlsplit

from mlflow_model_server.runtime.termination import StartupError

# What MLflow's servers answer where trying again changes nothing.
_PERMANENT_CODES = {
    "BAD_REQUEST",
    "ENDPOINT_NOT_FOUND",
    "INVALID_PARAMETER_VALUE",
    "NOT_FOUND",
    "PERMISSION_DENIED",
    "RESOURCE_DOES_NOT_EXIST",
    "UNAUTHENTICATED",
}
_TRANSIENT_STATUSES = {408, 425, 429}
# What MLflow says of a run whose files could not be downloaded, whatever the cause.
_UNEXPLAINED = "please ensure that the path is correct"

_UNAUTHORIZED_CODES = {"PERMISSION_DENIED", "UNAUTHENTICATED"}
_UNAUTHORIZED = re.compile(
    r"\b40[13] Client Error|Unable to locate credentials|"
    r"\((401|403|AccessDenied|InvalidAccessKeyId|SignatureDoesNotMatch|ExpiredToken)\)"
)
_UNTRUSTED = re.compile("CERTIFICATE_VERIFY_FAILED|certificate verify failed")
_UNREACHABLE = (
    (
        re.compile(
            "NameResolutionError|Failed to resolve|Name or service not known|name resolution"
        ),
        "its name cannot be resolved",
    ),
    (re.compile("Connection refused"), "it refuses connections"),
    (re.compile("No route to host|Network is unreachable"), "there is no route to it"),
    (
        re.compile(
            r"timeout exception|Read timed out|Connection timed out|"
            r"Connection to \S{1,255} timed out|(Read|Connect) timeout on endpoint"
        ),
        "there was no response in time",
    ),
    (
        re.compile(
            "Connection aborted|Connection broken|Connection reset|RemoteDisconnected|"
            "Response ended prematurely|Connection was closed before"
        ),
        "the connection was lost",
    ),
    (re.compile("Could not connect to the endpoint"), "there is no connection to it"),
    (
        re.compile(r"too many 50[234] error|\b50[234] Server Error"),
        "its proxy has no server behind it",
    ),
)
# What urllib3 and botocore write about a connection.
_ADDRESSES = (
    re.compile(r"host='(?P<host>[^']+)', port='?(?P<port>\d+)"),
    re.compile(r'endpoint URL: "(?P<url>[^"]+)"'),
)


def explained(uri: str, error: BaseException) -> StartupError:
    """The failure to download `uri`, with a reason that leads to what has to be mended."""
    text = " ".join(str(link) for link in _chain(error))
    if _is_unauthorized(error, text):
        return StartupError("ArtifactUnauthorized", _message(uri, error))
    if _UNTRUSTED.search(text):
        return StartupError(
            "ArtifactServerUntrusted",
            f"{_server(uri, text)} has a certificate of an unknown authority",
        )
    for pattern, sentence in _UNREACHABLE:
        if pattern.search(text):
            return StartupError(
                "ArtifactServerUnreachable", f"{_server(uri, text)} does not respond: {sentence}"
            )
    return StartupError("ArtifactUnreadable", _message(uri, error))


def description(error: BaseException) -> str:
    """An error's type and text, without the tags of a page that a proxy answered with."""
    if isinstance(error, ImportError) and error.name:
        return (
            f"the image has no package {error.name.partition('.')[0]!r}, which "
            "MLflow needs for that storage: use your own image, based on this one, "
            "that has it"
        )
    return f"{type(error).__name__}: {re.sub(r'<[^<>]*>', ' ', str(error))}"


def is_permanent(error: BaseException | None) -> bool:
    """Whether an error, or what caused it, says that trying again is of no use."""
    if _UNEXPLAINED in str(error):
        return False
    while error is not None:
        status = _http_status(error)
        if status is not None and 400 <= status < 500 and status not in _TRANSIENT_STATUSES:
            return True
        if getattr(error, "error_code", None) in _PERMANENT_CODES:
            return True
        if isinstance(error, ImportError | FileNotFoundError | PermissionError):
            return True
        error = error.__cause__
    return False


def _message(uri: str, error: BaseException) -> str:
    return f"{uri} can't be downloaded: {description(error)}"


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    """The error and what it was raised from or during."""
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__


def _is_unauthorized(error: BaseException, text: str) -> bool:
    return _UNAUTHORIZED.search(text) is not None or any(
        _http_status(link) in (401, 403) or getattr(link, "error_code", None) in _UNAUTHORIZED_CODES
        for link in _chain(error)
    )


def _http_status(error: BaseException) -> int | None:
    """The status of a response that botocore, requests or Google's client made an error of."""
    response = getattr(error, "response", None)
    if isinstance(response, dict):
        status = response.get("ResponseMetadata", {}).get("HTTPStatusCode")
    else:
        status = getattr(response, "status_code", None) or getattr(error, "code", None)
    return status if isinstance(status, int) else None


def _server(uri: str, text: str) -> str:
    """The server that failed, by host and port; a URL may have more, like a password."""
    address = _address(text) or _host_and_port(os.environ.get("MLFLOW_TRACKING_URI", ""))
    return f"The server {address}, which has {uri}," if address else f"The server of {uri}"


def _address(text: str) -> str:
    for pattern in _ADDRESSES:
        if match := pattern.search(text):
            parts = match.groupdict()
            return _host_and_port(parts["url"]) if "url" in parts else ":".join(match.groups())
    return ""


def _host_and_port(url: str) -> str:
    try:
        parts = urlsplit(url)
        port = parts.port or {"http": 80, "https": 443}.get(parts.scheme)
    except ValueError:
        return ""
    return f"{parts.hostname}:{port}" if parts.hostname and port else ""
