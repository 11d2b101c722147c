"""What is answered, and what is refused. Pure."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from typing import NamedTuple

JSON = "application/json"


class Reply(NamedTuple):
    """An answer: its status, body and content type."""

    status: int
    body: bytes
    content_type: str = JSON
    headers: tuple[tuple[bytes, bytes], ...] = ()
    rows: int | None = None  # that were predicted; None: it is no prediction

    @property
    def all_headers(self) -> tuple[tuple[bytes, bytes], ...]:
        """Its headers, those that say what the body is among them."""
        length = (b"content-length", b"%d" % len(self.body))
        if not self.content_type:
            return (length, *self.headers)
        return (length, *self.headers, (b"content-type", self.content_type.encode()))


@dataclass(frozen=True)
class Refusal:
    """Why there are no predictions, in a form that each protocol can say in its own way."""

    status: int
    error_code: str
    message: str
    retry_after: float | None = None  # seconds
    challenge: bytes = b""  # for WWW-Authenticate

    @property
    def headers(self) -> tuple[tuple[bytes, bytes], ...]:
        """What an answer says besides its body: RFC 9110, sections 10.2.3 and 11.6.1."""
        found = []
        if self.challenge:
            found.append((b"www-authenticate", self.challenge))
        if self.retry_after is not None:
            found.append((b"retry-after", b"%d" % max(1, math.ceil(self.retry_after))))
        return tuple(found)

    def reply(self) -> Reply:
        """As MLflow says it."""
        told = json.dumps({"error_code": self.error_code, "message": self.message}).encode()
        return Reply(self.status, told, headers=self.headers)
