"""The last word of a container, which the operator reads and shows to people."""

from __future__ import annotations

import json
import logging
import re
from pathlib import Path

log = logging.getLogger(__name__)

MOST_CHARACTERS = 1000  # Kubernetes keeps 4096 bytes of a termination message
_PASSWORD = re.compile(r"(?<=://)[^/\s@]+@")


class Failed(Exception):
    """Preparing or serving can't go on. `reason` becomes a reason of the resource's conditions."""

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(message)
        self.reason = reason
        self.message = message


def leave_word(failure: Failed, path: Path) -> None:
    """Writes reason and message as JSON to the termination log, and to the ordinary log."""
    message = without_passwords(failure.message)[:MOST_CHARACTERS]
    log.error("%s: %s", failure.reason, message)
    try:
        path.write_text(json.dumps({"reason": failure.reason, "message": message}))
    except OSError:
        log.debug("no termination log at %s: not in a pod", path)


def without_passwords(text: str) -> str:
    """`text` with user and password taken out of its URLs."""
    return _PASSWORD.sub("", text)
