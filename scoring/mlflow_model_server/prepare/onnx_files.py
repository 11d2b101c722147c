"""Which other files an ONNX file refers to, and whether it asks for code: read without onnx.

The package is not in each image, and this runs before a model's packages are installed. An ONNX
file is a message of protobuf; of its fields only those count that lead to tensors and nodes:
https://github.com/onnx/onnx/blob/main/onnx/onnx.proto.
"""

from __future__ import annotations

import mmap
from collections.abc import Iterator
from pathlib import Path

# Of each type of message: the number of a field, and the type of the message in it.
_FIELDS: dict[str, dict[int, str]] = {
    "model": {7: "graph", 20: "training", 25: "function"},
    "training": {1: "graph", 2: "graph"},
    "graph": {1: "node", 5: "tensor", 15: "sparse"},
    "function": {7: "node", 11: "attribute"},
    "node": {5: "attribute"},
    "attribute": {
        **{5: "tensor", 6: "graph", 10: "tensor", 11: "graph"},
        **{22: "sparse", 23: "sparse"},
    },
    "sparse": {1: "tensor", 2: "tensor"},
    "tensor": {13: "entry"},
}
_OPERATION, _DOMAIN = 4, 7  # fields of a node
_KEY, _VALUE = 1, 2  # fields of an entry
# Nodes that read a file of their own, or run Python.
_FOREIGN = {b"EPContext", b"PyOp", b"PythonOp", b"PythonOpGrad"}
_MAX_DEPTH = 100

Message = memoryview


def problem_of(path: Path) -> str:
    """What keeps the file from being just data; "" if nothing does.

    Raises ValueError where it is not ONNX, OSError where it can't be read.
    """
    with path.open("rb") as file:
        # Not closed here: errors below refer to parts of it.
        content = memoryview(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ))
    if bytes(content[4:8]) == b"ORTM":
        raise ValueError("ONNX Runtime's own format")
    return next(_problems(content, "model", path.parent, 0), "")


def _problems(message: Message, kind: str, folder: Path, depth: int) -> Iterator[str]:
    if depth > _MAX_DEPTH:
        yield "is nested too deeply"
        return
    inner = _FIELDS[kind]
    for number, value in _fields(message):
        if kind == "node" and number == _OPERATION and bytes(value) in _FOREIGN:
            yield "has a node that reads files, or runs code"
        elif number in inner and inner[number] == "entry":
            yield from _of_entry(value, folder)
        elif number in inner:
            yield from _problems(value, inner[number], folder, depth + 1)


def _of_entry(entry: Message, folder: Path) -> Iterator[str]:
    """Of where a tensor's data is, if not in the file itself."""
    # protobuf takes the last of several.
    content = {number: bytes(value) for number, value in _fields(entry)}
    if content.get(_KEY) != b"location":
        return
    try:
        name = content.get(_VALUE, b"").decode()
        path = (folder / name).resolve()
        inside = path.is_relative_to(folder.resolve()) and path.is_file()
    except (ValueError, OSError):
        inside = False
    # ONNX Runtime takes names with a star for addresses in its memory.
    if not inside or "*" in name:
        yield "has tensors in what is no file of the model's folder"


def _fields(message: Message) -> Iterator[tuple[int, Message]]:
    """The fields that have a length. Raises ValueError for what is no message."""
    position = 0
    while position < len(message):
        tag, position = _varint(message, position)
        number, wire = tag >> 3, tag & 7
        if number == 0:
            raise ValueError("a field without a number")
        if wire == 0:
            _, position = _varint(message, position)
            continue
        if wire == 2:
            length, position = _varint(message, position)
        elif wire in (1, 5):
            length = 8 if wire == 1 else 4
        else:
            raise ValueError("a type of field that ONNX does not use")
        end = position + length
        if end > len(message):
            raise ValueError("a field that is longer than its message")
        if wire == 2:
            yield number, message[position:end]
        position = end


def _varint(message: Message, position: int) -> tuple[int, int]:
    value = 0
    for shift in range(0, 70, 7):
        if position >= len(message):
            break
        byte = message[position]
        position += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, position
    raise ValueError("a number without an end")
