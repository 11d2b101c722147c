"""Examples of disagreements, for people who asked for them: bounded, and logged slowly."""

from __future__ import annotations

import json
import sys
import time
from collections import deque
from typing import TextIO

import orjson

from mlflow_model_server.shadow.comparison import Difference
from mlflow_model_server.shadow.frames import Copy

MAX_INPUT_BYTES = 2048
MAX_OUTPUT_BYTES = 512
INTERVAL = 1.0  # seconds between two lines


class Examples:
    """The last few disagreements that have not been logged."""

    def __init__(self, revision: str, size: int, stream: TextIO = sys.stderr) -> None:
        """Remembers `size` of them."""
        self._revision = revision
        self._pending: deque[str] = deque(maxlen=size)
        self._stream = stream

    def add(self, copy: Copy, difference: Difference) -> None:
        """Remembers a disagreement, and forgets the oldest if there are too many."""
        if self._pending.maxlen:
            self._pending.append(self._line(copy, difference))

    def write(self) -> None:
        """Logs the oldest, if there is any."""
        if self._pending:
            self._stream.write(self._pending.popleft() + "\n")
            self._stream.flush()

    def _line(self, copy: Copy, difference: Difference) -> str:
        example = {
            "shadow": self._revision,
            "row": difference.row,
            "input": _text(copy.body, MAX_INPUT_BYTES),
            "prediction": _text(orjson.dumps(difference.stable), MAX_OUTPUT_BYTES),
            "shadow_prediction": _text(orjson.dumps(difference.shadow), MAX_OUTPUT_BYTES),
        }
        # ASCII: no character can end the line or control a terminal.
        return json.dumps({"time": round(time.time(), 3), "shadow_disagreement": example})


def _text(value: bytes, length: int) -> str:
    return value[:length].decode("utf-8", "replace")
