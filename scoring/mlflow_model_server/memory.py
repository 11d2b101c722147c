"""How much memory a process may use."""

from __future__ import annotations

import resource
from pathlib import Path

_CGROUP = Path("/sys/fs/cgroup")
# What the process that starts another one needs beside it.
_RESERVED = 200 * 2**20  # bytes


def limit(most: int) -> None:
    """Makes allocations of more bytes than that fail in this process.

    Before its container is killed for them: the kernel would end all of the container's processes,
    not only the one that is too large.
    """
    resource.setrlimit(resource.RLIMIT_DATA, (most, most))


def left_for_another(cgroup: Path = _CGROUP) -> int | None:
    """The bytes that a process started by this one may use, or None where there is no limit."""
    limit = container_limit(cgroup)
    return None if limit is None else max(0, limit - _RESERVED)


def container_limit(cgroup: Path = _CGROUP) -> int | None:
    """The bytes that this container may use at most, or None where there is no limit."""
    for name in ("memory.max", "memory/memory.limit_in_bytes"):  # cgroup v2, v1
        try:
            limit = int((cgroup / name).read_text())
        except (OSError, ValueError):  # "max" is no number
            continue
        return limit if limit < 2**60 else None  # v1's word for no limit
    return None
