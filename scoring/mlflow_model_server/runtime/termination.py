"""The termination message of a container, which the operator reads and shows to users."""

from __future__ import annotations

import json
import logging
import re
from pathlib import Path

log = logging.getLogger(__name__)

# Kubernetes keeps 4096 bytes of a termination message; people read a sentence or two.
MAX_MESSAGE_BYTES = 1000


class StartupError(Exception):
    """Preparing or serving can't go on. `reason` becomes a reason of the resource's conditions.

    `message` is one line of at most MAX_MESSAGE_BYTES bytes, without passwords.
    """

    def __init__(self, reason: str, message: str) -> None:
        self.reason = reason
        self.message = bounded(redact_urls(message))
        super().__init__(f"{reason}: {self.message}")


def write_termination_message(failure: StartupError, path: Path) -> None:
    """Writes reason and message as JSON to the termination log, and to the ordinary log."""
    log.error("%s", failure)
    content = {"reason": failure.reason, "message": failure.message}
    try:
        path.write_text(json.dumps(content, ensure_ascii=False), encoding="utf-8")
    except OSError:
        log.debug("no termination log at %s: not in a pod", path)


def last_line(error: BaseException) -> str:
    """The type of an exception and the last line that it says, as a traceback ends.

    Of PyTorch's errors of a GPU it is the first: after it comes advice for who debugs kernels.
    """
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    if not lines:
        return type(error).__name__
    line = lines[0] if lines[0].startswith(("CUDA error: ", "HIP error: ")) else lines[-1]
    return f"{type(error).__name__}: {line}"


def redact_urls(text: str) -> str:
    """`text` with users, passwords and queries (which may be signatures) taken out of its URLs.

    >>> redact_urls("no https://me:secret@example.com/x?X-Amz-Signature=1f here")
    'no https://***@example.com/x?*** here'
    """
    text = re.sub(r"(?<=://)[^\s/@'\"`]+@", "***@", text)
    # Not beyond another "://", from which it is looked for again: else the time is quadratic.
    return re.sub(r"(://(?:[^\s?'\"`:]|:(?!//))*\?)[^\s'\"`)]+", r"\1***", text)


def bounded(text: str) -> str:
    """One line of at most MAX_MESSAGE_BYTES bytes; a longer text loses its middle."""
    line = " ".join(text.split()).encode()
    if len(line) <= MAX_MESSAGE_BYTES:
        return line.decode()
    half = MAX_MESSAGE_BYTES // 2 - 2
    return f"{line[:half].decode(errors='ignore')}…{line[-half:].decode(errors='ignore')}"
