"""Reads structs in Thrift's compact protocol, as far as Parquet needs it. Pure.

See https://github.com/apache/thrift/blob/master/doc/specs/thrift-compact-protocol.md.
"""

from __future__ import annotations

from typing import Any

_STOP, _TRUE, _FALSE, _BYTE, _I16, _I32, _I64, _DOUBLE, _BINARY, _LIST, _SET, _MAP, _STRUCT = range(
    13
)
_INTEGERS = (_I16, _I32, _I64)
_MAX_DEPTH = 8
_MAX_VARINT = 10  # bytes


class MalformedThrift(Exception):
    """The bytes are no struct."""


def read_struct(data: bytes, place: int) -> tuple[dict[int, Any], int]:
    """The fields of the struct that begins at `place`, by number, and where it ends.

    Doubles are left out.

    Raises MalformedThrift.
    """
    reader = _Reader(data, place)
    try:
        return reader.struct(0), reader.place
    except IndexError:
        raise MalformedThrift from None


class _Reader:
    def __init__(self, data: bytes, place: int) -> None:
        self._data = data
        self.place = place

    def struct(self, depth: int) -> dict[int, Any]:
        if depth > _MAX_DEPTH:
            raise MalformedThrift
        fields: dict[int, Any] = {}
        number = 0
        while head := self._byte():
            step, kind = head >> 4, head & 15
            number = number + step if step else self._zigzag()
            # Booleans have their value in the type.
            fields[number] = kind == _TRUE if kind in (_TRUE, _FALSE) else self._value(kind, depth)
        return fields

    def _value(self, kind: int, depth: int) -> Any:
        if kind in _INTEGERS:
            return self._zigzag()
        if kind == _BINARY:
            return self._bytes(self._varint())
        if kind == _STRUCT:
            return self.struct(depth + 1)
        if kind in (_BYTE, _TRUE, _FALSE):
            return self._byte()
        if kind == _DOUBLE:
            return self._bytes(8) and None
        if kind in (_LIST, _SET):
            return self._list(depth)
        raise MalformedThrift  # Parquet has no maps

    def _list(self, depth: int) -> list[Any]:
        head = self._byte()
        size = head >> 4 if head >> 4 < 15 else self._varint()
        if size > len(self._data) - self.place or depth >= _MAX_DEPTH:
            raise MalformedThrift
        return [self._value(head & 15, depth + 1) for _ in range(size)]

    def _bytes(self, size: int) -> bytes:
        if size > len(self._data) - self.place:
            raise MalformedThrift
        self.place += size
        return self._data[self.place - size : self.place]

    def _byte(self) -> int:
        value = self._data[self.place]
        self.place += 1
        return value

    def _varint(self) -> int:
        value = 0
        for shift in range(0, 7 * _MAX_VARINT, 7):
            byte = self._byte()
            value |= (byte & 0x7F) << shift
            if byte < 0x80:
                return value
        raise MalformedThrift

    def _zigzag(self) -> int:
        value = self._varint()
        return (value >> 1) ^ -(value & 1)
