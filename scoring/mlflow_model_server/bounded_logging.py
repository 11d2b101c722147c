"""Logging that no text from outside can flood, forge or break.

MLflow and pandas put clients' names and values into their messages. So every record of every logger
is bounded in length, has no control characters, and has its further lines indented: no text looks
like a record of its own. URLs are without logins. While requests are served, tracebacks are without
the messages of exceptions, unless bodies may be logged.
"""

from __future__ import annotations

import logging
import traceback
from collections.abc import Iterator
from typing import Any, ClassVar

from mlflow_model_server.runtime.termination import redact_urls

MAX_MESSAGE_LENGTH = 2000
MAX_TRACEBACK_LENGTH = 16_000

_CONTROL = {
    code: f"\\x{code:02x}" for code in (*range(0x20), *range(0x7F, 0xA0)) if chr(code) not in "\n\t"
} | {0x2028: "\\u2028", 0x2029: "\\u2029"}


class BoundedRecord(logging.LogRecord):
    """A record whose text is bounded, whichever handler formats it."""

    show_messages: ClassVar[bool] = True  # of exceptions

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        if self.exc_info:
            # A formatter uses the text that is there already.
            text = _redacted(self._traceback(self.exc_info[1]))
            self.exc_text = "  " + bounded(text.rstrip(), MAX_TRACEBACK_LENGTH)

    def getMessage(self) -> str:
        """The message with its arguments."""
        return bounded(_redacted(super().getMessage()), MAX_MESSAGE_LENGTH)

    def _traceback(self, error: BaseException | None) -> str:
        if self.show_messages or error is None:
            return "".join(traceback.format_exception(error))
        return "".join(map(_without_message, reversed(list(_chain(error)))))


def configure() -> None:
    """Sets up logging and warnings of this process; workers that it forks have the same."""
    logging.setLogRecordFactory(BoundedRecord)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s")
    logging.captureWarnings(True)


def hide_exception_messages(hide: bool) -> None:
    """From now on, says or does not say what exceptions say: it may repeat a client's data."""
    BoundedRecord.show_messages = not hide


def _redacted(text: str) -> str:
    """Without the logins in URLs: MLflow repeats a tracking server's that can't be reached."""
    return redact_urls(text) if "://" in text else text


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    """An exception and those that led to it."""
    visited: set[int] = set()
    while error is not None and id(error) not in visited:
        visited.add(id(error))
        yield error
        error = error.__cause__ or (None if error.__suppress_context__ else error.__context__)


def _without_message(error: BaseException) -> str:
    frames = "".join(traceback.format_tb(error.__traceback__))
    name = f"{type(error).__module__}.{type(error).__qualname__}"
    return (
        f"Traceback (most recent call last):\n{frames}{name}: with REQUEST_LOG_BODIES=true its "
        "message is logged, which may repeat the request\n"
    )


def bounded(text: str, length: int) -> str:
    """`text` without its middle if it is longer; control characters are escaped, and all lines but
    the first are indented.
    """
    if len(text) > length:
        omitted = f"… ({len(text) - length} more characters) …"
        text = f"{text[: length // 2]}{omitted}{text[-(length // 2) :]}"
    return text.translate(_CONTROL).replace("\n", "\n  ")
