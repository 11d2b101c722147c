"""Responses and errors, before a protocol writes them. Pure."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from itertools import accumulate
from typing import NamedTuple

JSON = "application/json"
# Bytes of an error's message as JSON has it: it may quote names, which have any length.
MAX_MESSAGE = 400
_ELLIPSIS = "…"


class Response(NamedTuple):
    """A response: its status, body and content type."""

    status: int
    body: bytes
    content_type: str = JSON
    headers: tuple[tuple[bytes, bytes], ...] = ()
    rows: int | None = None  # number of predicted rows; None: it has no predictions
    error: ErrorResponse | None = None  # what `body` says, for transports with errors of their own
    # Of a stream, which has been sent: `body` is its beginning at most. None: it is to be sent.
    sent_bytes: int | None = None

    @property
    def all_headers(self) -> tuple[tuple[bytes, bytes], ...]:
        """Its headers, with those that describe the body."""
        length = (b"content-length", b"%d" % len(self.body))
        if not self.content_type:
            return (length, *self.headers)
        return (length, *self.headers, (b"content-type", self.content_type.encode()))


@dataclass(frozen=True)
class ErrorResponse:
    """Why there are no predictions, in a form that each protocol can write in its own way."""

    status: int
    error_code: str
    message: str
    retry_after: float | None = None  # seconds
    challenge: bytes = b""  # for WWW-Authenticate
    allow: bytes = b""  # the method that the route has
    accept_encoding: bytes = b""  # the content encodings that could be read

    def __post_init__(self) -> None:
        object.__setattr__(self, "message", bounded(self.message))

    @property
    def headers(self) -> tuple[tuple[bytes, bytes], ...]:
        """The headers of the response: RFC 9110, sections 10.2 and 11.6.1, and 12.5.3."""
        named = (
            (b"www-authenticate", self.challenge),
            (b"allow", self.allow),
            (b"accept-encoding", self.accept_encoding),
        )
        headers = tuple(header for header in named if header[1])
        if self.retry_after is None:
            return headers
        return (*headers, (b"retry-after", b"%d" % max(1, math.ceil(self.retry_after))))

    def response(self) -> Response:
        """As MLflow's protocol has it."""
        fields = {"error_code": self.error_code, "message": self.message}
        body = json.dumps(fields).encode()
        return Response(self.status, body, headers=self.headers, error=self)


class Rejected(Exception):
    """The request ends with this error."""

    def __init__(self, error: ErrorResponse) -> None:
        super().__init__(error.message)
        self.error = error


def bounded(message: str) -> str:
    """The message, or its beginning if it takes more bytes than MAX_MESSAGE."""
    # What is beyond so many characters does not fit in any case, and may be megabytes.
    beginning = message[: MAX_MESSAGE + 1]
    if _written_bytes(beginning) <= MAX_MESSAGE:
        return message
    sizes = accumulate(_written_bytes(character) for character in beginning)
    room = MAX_MESSAGE - _written_bytes(_ELLIPSIS)
    return beginning[: sum(size <= room for size in sizes)] + _ELLIPSIS


def _written_bytes(text: str) -> int:
    """What a text takes in JSON without its quotes, where all but ASCII is escaped."""
    return len(json.dumps(text)) - 2
