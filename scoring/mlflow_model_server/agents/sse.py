"""Server-sent events: https://html.spec.whatwg.org/multipage/server-sent-events.html. Pure."""

from __future__ import annotations

import dataclasses
import json
from typing import Any

import orjson

# The end of a stream, in OpenAI's protocol for completions and in MLflow's.
DONE = b"data: [DONE]\n\n"
# JSON has them in strings as they are, and some clients end a line there, as Python's splitlines().
_LINE_BREAKS = (
    ("\u0085".encode(), b"\\u0085"),
    ("\u2028".encode(), b"\\u2028"),
    ("\u2029".encode(), b"\\u2029"),
)


def event(data: Any, name: str = "") -> bytes:
    """One event, with its data as JSON on one line."""
    head = f"event: {name}\n".encode() if name else b""
    line = to_json(data)
    for character, escaped in _LINE_BREAKS:
        line = line.replace(character, escaped)
    return b"%sdata: %s\n\n" % (head, line)


def to_json(value: Any) -> bytes:
    """JSON of what models answer. Raises TypeError for what it can't say."""
    try:
        return orjson.dumps(
            value,
            default=_plain,
            option=orjson.OPT_NON_STR_KEYS | orjson.OPT_SERIALIZE_NUMPY,
        )
    except TypeError:  # integers of more than 64 bits, among others
        return json.dumps(value, default=_plain).encode()


def _plain(value: Any) -> Any:
    """Pydantic's models without the fields that have no value, and arrays, as what JSON has."""
    for method, options in (("model_dump", {"exclude_none": True}), ("tolist", {})):
        convert = getattr(value, method, None)
        if convert is not None:
            return convert(**options)
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return dataclasses.asdict(value)
    raise TypeError(f"{type(value).__name__} can't be represented as JSON")
