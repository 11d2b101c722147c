"""Text from outside (pods, the scheduler, tracking servers), made fit to be shown.

It is bounded, on one line, without passwords, and without characters that would not survive a round
trip through the API server and so be written again and again.
"""

from __future__ import annotations

import re

MAX_TEXT_LENGTH = 600  # characters of a message from outside
_PASSWORD = re.compile(r"(?<=://)[^/\s@]+@")
_COLOUR = re.compile(r"\x1b\[[0-9;]*m")


def single_line(text: object, max_length: int = MAX_TEXT_LENGTH) -> str:
    """`text` on one printable line of at most `max_length` characters; "" if it is not text."""
    if not isinstance(text, str):
        return ""
    # Twice as much, so that removing some of it does not leave the rest short.
    plain = _COLOUR.sub("", text[: 2 * max_length])
    printable = "".join(c if c.isprintable() else " " for c in plain)
    line = re.sub(" +", " ", _PASSWORD.sub("", printable)).strip()
    return line if len(line) <= max_length else line[: max_length - 1] + "…"
