"""Keys from a file, as a mounted Secret gives them."""

from __future__ import annotations

import hashlib
import hmac
import logging
import time
from collections.abc import Callable
from pathlib import Path

from mlflow_model_server.auth.errors import KeysError

log = logging.getLogger(__name__)

_SECONDS_BETWEEN_LOOKS = 1.0
_LEAST_LENGTH = 16


def parse(text: str) -> dict[bytes, str]:
    """SHA-256 of each key, with its name. One key a line, as `key` or `name:key`; `#` begins a
    comment line.

    A key without a name is called by the line it stands on, like `key-3`: names go to logs and
    limits, keys never do. Raises KeysError.
    """
    keys: dict[bytes, str] = {}
    for number, line in enumerate(text.splitlines(), start=1):
        line = line.strip()
        if not line or line.startswith("#"):
            continue
        before, colon, after = line.partition(":")
        name, key = (before.strip(), after.strip()) if colon else (f"key-{number}", line)
        if not name or len(key) < _LEAST_LENGTH:
            raise KeysError(
                f"line {number} is no key: write `name:key` with a key of at least "
                f"{_LEAST_LENGTH} characters, one a line"
            )
        keys[_digest(key)] = name
    if not keys:
        raise KeysError("there is no key in it: write one a line, as `name:key`")
    return keys


class KeyFile:
    """The keys in a file, read again when the file changes.

    A Secret's volume changes by a symbolic link that is put in place of another: it is followed
    anew with each look. While the file can't be read or used, the keys read before stay.
    """

    def __init__(self, path: Path, now: Callable[[], float] = time.monotonic) -> None:
        """Raises KeysError if the file can't be read, or has no keys."""
        self._path = path
        self._now = now
        self._looked = now()
        self._seen = self._look()
        try:
            self._keys = parse(path.read_text("utf-8"))
        except (OSError, UnicodeDecodeError, KeysError) as error:
            raise KeysError(f"API_KEYS_FILE {path}: {error}") from error

    def caller(self, token: str) -> str | None:
        """The name of the key, or None. Takes the same time whichever of the keys it is like."""
        now = self._now()
        if now - self._looked >= _SECONDS_BETWEEN_LOOKS:
            self._looked = now
            self._reload_if_changed()
        presented, found = _digest(token), None
        for digest, name in self._keys.items():
            if hmac.compare_digest(digest, presented):
                found = name
        return found

    def _reload_if_changed(self) -> None:
        seen = self._look()
        if seen == self._seen:
            return
        self._seen = seen
        try:
            self._keys = parse(self._path.read_text("utf-8"))
            log.info("read %d keys from %s", len(self._keys), self._path)
        except (OSError, UnicodeDecodeError, KeysError) as error:
            log.error("%s: %s; the keys read before stay", self._path, error)

    def _look(self) -> tuple[int, int, int] | None:
        try:
            found = self._path.stat()
        except OSError:
            return None
        return found.st_ino, found.st_mtime_ns, found.st_size


def _digest(key: str) -> bytes:
    # Digests are of one length: comparing them tells nothing of the key's.
    return hashlib.sha256(key.encode("utf-8", "surrogateescape")).digest()
