"""Server-sent events: https://html.spec.whatwg.org/multipage/server-sent-events.html. Pure."""

from __future__ import annotations

import dataclasses
import json
from typing import Any

import orjson

# The end of a stream, in OpenAI's protocol for completions and in MLflow's.
DONE = b"data: [DONE]\n\n"


def event(data: Any, name: str = "") -> bytes:
    """One event, with its data as JSON, which has no line breaks."""
    head = f"event: {name}\n".encode() if name else b""
    return b"%sdata: %s\n\n" % (head, to_json(data))


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
    raise TypeError(f"{type(value).__name__} is no JSON")
