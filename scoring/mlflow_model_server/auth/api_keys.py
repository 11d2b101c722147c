"""API keys from a file, as a mounted Secret has them."""

from __future__ import annotations

import hashlib
import hmac
import logging
import time
from collections.abc import Callable
from pathlib import Path

from mlflow_model_server.auth.errors import InvalidKeyFile

log = logging.getLogger(__name__)

_CHECK_INTERVAL = 1.0  # seconds between two looks at the file
_MIN_KEY_LENGTH = 16


def parse(text: str) -> dict[bytes, str]:
    """SHA-256 of each key, with its name. One key per line, as `key` or `name:key`; `#` begins a
    comment line.

    A key without a name is called by its line, like `key-3`: names are in logs and limits, keys
    never are. Raises InvalidKeyFile.
    """
    keys: dict[bytes, str] = {}
    for number, line in enumerate(text.splitlines(), start=1):
        line = line.strip()
        if not line or line.startswith("#"):
            continue
        before, colon, after = line.partition(":")
        name, key = (before.strip(), after.strip()) if colon else (f"key-{number}", line)
        if not name or len(key) < _MIN_KEY_LENGTH:
            raise InvalidKeyFile(
                f"line {number} is not a key: write `name:key` with a key of at least "
                f"{_MIN_KEY_LENGTH} characters, one per line"
            )
        keys[_digest(key)] = name
    if not keys:
        raise InvalidKeyFile("it contains no key: write one per line, as `name:key`")
    return keys


class ApiKeyFile:
    """The keys in a file, which is read again when it changes.

    The volume of a Secret changes by replacing a symbolic link, which is why each look follows the
    link again. While the file can't be read or used, the previous keys stay valid.
    """

    def __init__(self, path: Path, now: Callable[[], float] = time.monotonic) -> None:
        """Raises InvalidKeyFile if the file can't be read, or has no keys."""
        self._path = path
        self._now = now
        self._checked = now()
        self._identity = self._stat()
        try:
            self._keys = parse(path.read_text("utf-8"))
        except (OSError, UnicodeDecodeError, InvalidKeyFile) as error:
            raise InvalidKeyFile(f"API_KEYS_FILE {path}: {error}") from error

    def identify(self, token: str) -> str | None:
        """The name of the key, or None. The time does not depend on how much of a key is right."""
        now = self._now()
        if now - self._checked >= _CHECK_INTERVAL:
            self._checked = now
            self._reload_if_changed()
        presented, match = _digest(token), None
        for digest, name in self._keys.items():
            if hmac.compare_digest(digest, presented):
                match = name
        return match

    def _reload_if_changed(self) -> None:
        identity = self._stat()
        if identity == self._identity:
            return
        self._identity = identity
        try:
            self._keys = parse(self._path.read_text("utf-8"))
            log.info("read %d keys from %s", len(self._keys), self._path)
        except (OSError, UnicodeDecodeError, InvalidKeyFile) as error:
            log.error("%s: %s; the previous keys stay valid", self._path, error)

    def _stat(self) -> tuple[int, int, int] | None:
        try:
            status = self._path.stat()
        except OSError:
            return None
        return status.st_ino, status.st_mtime_ns, status.st_size


def _digest(key: str) -> bytes:
    # Digests have one length: comparing them reveals nothing about the length of the key.
    return hashlib.sha256(key.encode("utf-8", "surrogateescape")).digest()
