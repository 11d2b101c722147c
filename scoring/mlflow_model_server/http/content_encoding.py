"""Content encodings of requests: RFC 9110, section 8.4.1."""

from __future__ import annotations

import asyncio
import zlib

from mlflow_model_server.headers import Headers, first
from mlflow_model_server.inference.limits import Reservation
from mlflow_model_server.responses import ErrorResponse, Rejected

_ACCEPTED = (b"gzip", b"x-gzip", b"deflate")
_UNSUPPORTED = ErrorResponse(
    415,
    "BAD_REQUEST",
    "the body has a Content-Encoding that can't be decoded: send it without "
    "encoding, or with gzip or deflate",
    accept_encoding=b"gzip, deflate",
)
_INVALID = ErrorResponse(
    400, "BAD_REQUEST", "the body does not match its header Content-Encoding: leave the header out"
)
_STEP = 1 << 20  # bytes that are decoded before others may go on


def encoding_of(headers: Headers) -> bytes | None:
    """The encoding of the body; None: it is as it is. Raises Rejected for one that is not known."""
    value = first(headers, b"content-encoding")
    encoding = b"" if value is None else value.strip().lower()
    if encoding in (b"", b"identity"):
        return None
    if encoding not in _ACCEPTED:
        raise Rejected(_UNSUPPORTED)
    return encoding


async def decode(body: bytes, reservation: Reservation) -> bytes:
    """The decoded body; reserves its bytes as it grows. Raises Rejected."""
    held = reservation.size
    decoder = zlib.decompressobj(_window_bits(body))
    parts: list[bytes] = []
    length = 0
    try:
        while not decoder.eof:
            part = decoder.decompress(body, _STEP)
            body = decoder.unconsumed_tail
            if not part and not body and not decoder.eof:
                raise Rejected(_INVALID)  # it ends too early
            length += len(part)
            reservation.grow(max(held, length))
            parts.append(part)
            await asyncio.sleep(0)
    except zlib.error:
        raise Rejected(_INVALID) from None
    if decoder.unused_data:
        raise Rejected(_INVALID)
    return b"".join(parts)


def _window_bits(body: bytes) -> int:
    """For gzip, zlib, or deflate without a header, which some clients send instead of zlib."""
    if body[:2] == b"\x1f\x8b":
        return zlib.MAX_WBITS | 16
    # RFC 1950, section 2.2: the method is 8, and both bytes are a multiple of 31.
    is_zlib = len(body) > 1 and body[0] & 15 == 8 and int.from_bytes(body[:2], "big") % 31 == 0
    return zlib.MAX_WBITS if is_zlib else -zlib.MAX_WBITS
