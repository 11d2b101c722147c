"""The keys that sign deliveries: the files of a folder, as Kubernetes mounts a Secret.

They are read at each delivery: a Secret that changes is effective when the kubelet has updated the
mount, and two keys can be valid while one takes the place of the other.
"""

from __future__ import annotations

import logging
from pathlib import Path

MAX_KEYS, MAX_KEY_BYTES = 16, 4096
MIN_KEY_BYTES = 16  # a shorter one can be guessed

log = logging.getLogger(__name__)


def read_keys(folder: Path) -> list[bytes]:
    """The usable keys, without the line feed that an editor adds at the end."""
    try:
        # Names that start with a dot are Kubernetes' own.
        files = sorted(path for path in folder.iterdir() if not path.name.startswith("."))
        keys = [_read(path) for path in files[:MAX_KEYS]]
    except OSError as error:
        log.warning("the keys of webhooks in %s are not readable: %s", folder, error.strerror)
        return []
    return [key for key in keys if len(key) >= MIN_KEY_BYTES]


def _read(path: Path) -> bytes:
    with path.open("rb") as file:
        return file.read(MAX_KEY_BYTES).strip()
