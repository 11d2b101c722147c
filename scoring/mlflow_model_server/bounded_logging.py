"""Logging that no text from outside can flood, forge or break.

MLflow and pandas put clients' names and values into their messages. So every record of every logger
is bounded in length, has no control characters, and has its further lines indented: no text looks
like a record of its own.
"""

from __future__ import annotations

import logging
from typing import Any

MAX_MESSAGE_LENGTH = 2000
MAX_TRACEBACK_LENGTH = 16_000

_CONTROL = {
    code: f"\\x{code:02x}" for code in (*range(0x20), *range(0x7F, 0xA0)) if chr(code) not in "\n\t"
} | {0x2028: "\\u2028", 0x2029: "\\u2029"}


class BoundedRecord(logging.LogRecord):
    """A record whose text is bounded, whichever handler formats it."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        if self.exc_info:
            # A formatter uses the text that is there already.
            text = logging.Formatter().formatException(self.exc_info)
            self.exc_text = "  " + bounded(text, MAX_TRACEBACK_LENGTH)

    def getMessage(self) -> str:
        """The message with its arguments."""
        return bounded(super().getMessage(), MAX_MESSAGE_LENGTH)


def configure() -> None:
    """Sets up logging and warnings of this process; workers that it forks have the same."""
    logging.setLogRecordFactory(BoundedRecord)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s")
    logging.captureWarnings(True)


def bounded(text: str, length: int) -> str:
    """`text` without its middle if it is longer; control characters are escaped, and all lines but
    the first are indented.
    """
    if len(text) > length:
        omitted = f"… ({len(text) - length} more characters) …"
        text = f"{text[: length // 2]}{omitted}{text[-(length // 2) :]}"
    return text.translate(_CONTROL).replace("\n", "\n  ")
