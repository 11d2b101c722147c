"""Copies as bytes, for the process that sends them. Pure, except for reading the stream."""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    import asyncio

_LENGTHS = struct.Struct(">5I")


class Copy(NamedTuple):
    """What a copy needs of a request, and the answer to compare with."""

    path: bytes
    content_type: bytes
    authorization: bytes
    body: bytes
    answer: bytes

    @property
    def size(self) -> int:
        """Its bytes."""
        return sum(map(len, self))

    def frame(self) -> bytes:
        """For `read`."""
        return b"".join((_LENGTHS.pack(*map(len, self)), *self))


async def read(reader: asyncio.StreamReader) -> Copy:
    """The next copy. Raises IncompleteReadError at the end."""
    lengths = _LENGTHS.unpack(await reader.readexactly(_LENGTHS.size))
    return Copy(*[await reader.readexactly(length) for length in lengths])
