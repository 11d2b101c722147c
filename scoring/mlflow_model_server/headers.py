"""Headers of a request as ASGI has them: pairs of bytes, names in lower case. Pure."""

from __future__ import annotations

from collections.abc import Sequence

Headers = Sequence[tuple[bytes, bytes]]


def first(headers: Headers, name: bytes) -> bytes | None:
    """The value of the first header of this name, or None."""
    for each, value in headers:
        if each == name:
            return value
    return None
