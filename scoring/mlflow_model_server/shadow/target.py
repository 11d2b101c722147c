"""The shadow that a file names: which version, where it is, and how many requests it gets.

The file comes from a ConfigMap, and may appear, change and vanish at any time.
"""

from __future__ import annotations

import json
import math
import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

MAX_FILE_BYTES = 64 * 1024
MAX_REVISION_LENGTH = 253
MAX_VERSION_LENGTH = 128
MAX_TIMEOUT = 300.0  # seconds
MAX_BODY_BYTES = 8 * 2**20
MAX_EXAMPLES = 20
_REVISION = re.compile(rf"[A-Za-z0-9]([A-Za-z0-9._-]{{0,{MAX_REVISION_LENGTH - 1}}})")
# Copies have the callers' credentials, and whoever may edit a ConfigMap may not have those. A name
# of one label is that of a Service of the pod's own namespace; one that begins with a digit may be
# an address, like 2852039166. What listens on the loopback is of the pod itself.
_HOST = re.compile(r"[a-z]([a-z0-9-]{0,61}[a-z0-9])?|127\.0\.0\.1|::1")


class InvalidTarget(ValueError):
    """The file can't be used; the message says what to write instead."""


@dataclass(frozen=True)
class Target:
    """A shadow."""

    revision: str
    model_version: str
    host: str
    port: int
    percent: float
    timeout: float  # seconds, for all of a copy
    max_body_bytes: int  # of a request and of each answer
    examples: int  # disagreements that are remembered until they are logged


class TargetFile:
    """Reads the file again whenever it has changed."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._identity: object = object()  # of what was read last

    def changed(self) -> bool:
        """Whether it is another file, or has other content, than at the last call."""
        identity = self._stat()
        if identity == self._identity:
            return False
        self._identity = identity
        return True

    def read(self) -> Target | None:
        """The shadow; None: there is none. Raises InvalidTarget."""
        try:
            with self._path.open("rb") as file:
                text = file.read(MAX_FILE_BYTES + 1)
        except (FileNotFoundError, NotADirectoryError):
            return None
        except OSError as error:
            raise InvalidTarget(f"it can't be read: {error.strerror}") from error
        return parse(text)

    def _stat(self) -> object:
        try:
            # Of what a link leads to: a ConfigMap's files are links that are exchanged.
            stat = os.stat(self._path)  # noqa: PTH116 - no object is made once a second
        except OSError:
            return None
        return stat.st_dev, stat.st_ino, stat.st_mtime_ns, stat.st_size


def parse(text: bytes) -> Target | None:
    """The shadow that a file's content names; None: none. Raises InvalidTarget. Pure.

    Fields with other names are ignored: a newer operator may write more of them.
    """
    if len(text) > MAX_FILE_BYTES:
        raise InvalidTarget(f"it is longer than {MAX_FILE_BYTES} bytes")
    if not text.strip():
        return None
    try:
        document = json.loads(text)
    except (ValueError, RecursionError):
        raise InvalidTarget("it is not JSON") from None
    if not isinstance(document, dict):
        raise InvalidTarget('it is not an object: write {"revision": …}')
    return _target(document) if document else None


def _target(document: dict[str, Any]) -> Target:
    revision = document.get("revision")
    if not isinstance(revision, str) or not _REVISION.fullmatch(revision):
        raise InvalidTarget("revision is not the name of a revision: write one like wine-5d8c7")
    version = document.get("modelVersion", "")
    if not isinstance(version, str) or not _is_label(version):
        raise InvalidTarget(f"modelVersion is not a text of up to {MAX_VERSION_LENGTH} characters")
    host, port = _address(document.get("url"))
    return Target(
        revision,
        version,
        host,
        port,
        percent=_number(document, "percent", math.nan, 100),
        timeout=_number(document, "timeoutSeconds", 10, MAX_TIMEOUT),
        max_body_bytes=_integer(document, "maxBodyBytes", 2**20, 1, MAX_BODY_BYTES),
        examples=_integer(document, "examples", 0, 0, MAX_EXAMPLES),
    )


def _is_label(version: str) -> bool:
    return len(version) <= MAX_VERSION_LENGTH and version.isprintable()


def _address(url: Any) -> tuple[str, int]:
    """The host and port of a URL that has nothing else, except for a slash."""
    try:
        parts = urlsplit(url if isinstance(url, str) and url.isascii() else "")
        host, port = parts.hostname or "", 80 if parts.port is None else parts.port
    except ValueError:
        host, port, parts = "", 0, urlsplit("")
    is_bare = parts.path in ("", "/") and not parts.query and not parts.fragment
    if parts.scheme != "http" or "@" in parts.netloc or not is_bare or not _HOST.fullmatch(host):
        port = 0
    if port == 0:  # the URL is not repeated: it may have a password
        raise InvalidTarget(
            "url is not one of a Service of this namespace: write one like http://wine-5d8c7:80"
        )
    return host, port


def _number(document: dict[str, Any], name: str, default: float, maximum: float) -> float:
    value = document.get(name, default)
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value <= maximum:
        raise InvalidTarget(f"{name} is not a number above 0 and up to {maximum:g}")
    return float(value)


def _integer(document: dict[str, Any], name: str, default: int, minimum: int, maximum: int) -> int:
    value = document.get(name, default)
    if isinstance(value, bool) or not isinstance(value, int) or not minimum <= value <= maximum:
        raise InvalidTarget(f"{name} is not a whole number from {minimum} to {maximum}")
    return value
