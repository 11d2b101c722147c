"""What the container may use, CPUs and memory, and keeping to it."""

from __future__ import annotations

import os
import resource
from pathlib import Path

# What OpenMP, OpenBLAS, MKL and the like read when they are loaded.
VARIABLES = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
_CGROUP = Path("/sys/fs/cgroup")
# For the parent process.
_RESERVED = 200 * 2**20  # bytes


def limit_threads(workers: int, cgroup: Path = _CGROUP) -> None:
    """Shares the container's CPU limit among the workers, unless the environment says otherwise.

    Numerical libraries start a thread for each core of the node, whatever the container's limit,
    and would then spend their time being throttled.
    """
    limit = cpu_limit(cgroup)
    if limit is None:
        return
    threads = str(max(1, int(limit / workers)))
    for name in VARIABLES:
        os.environ.setdefault(name, threads)


def thread_limit() -> int | None:
    """The threads that `limit_threads` or the user set; None: no limit.

    For libraries that read no variable.
    """
    first = os.environ.get(VARIABLES[0], "").partition(",")[0].strip()
    return int(first) if first.isdecimal() and int(first) > 0 else None


def cpu_limit(cgroup: Path = _CGROUP) -> float | None:
    """The CPUs that this container may use at most, or None where there is no limit."""
    try:
        if (cgroup / "cpu.max").exists():  # cgroup v2
            quota, period = (cgroup / "cpu.max").read_text().split()
        else:
            quota = (cgroup / "cpu/cpu.cfs_quota_us").read_text()
            period = (cgroup / "cpu/cpu.cfs_period_us").read_text()
        return int(quota) / int(period) if int(quota) > 0 else None
    except (OSError, ValueError):  # "max" is no number
        return None


def limit_memory(max_bytes: int) -> None:
    """Makes allocations of more bytes than that fail in this process.

    Before the container is killed for them: the kernel would end all of its processes, not only
    this process.
    """
    resource.setrlimit(resource.RLIMIT_DATA, (max_bytes, max_bytes))


def memory_left_for_child(cgroup: Path = _CGROUP) -> int | None:
    """The bytes that a process started by this one may use, or None where there is no limit."""
    limit = memory_limit(cgroup)
    return None if limit is None else max(0, limit - _RESERVED)


def memory_limit(cgroup: Path = _CGROUP) -> int | None:
    """The bytes that this container may use at most, or None where there is no limit."""
    for name in ("memory.max", "memory/memory.limit_in_bytes"):  # cgroup v2, v1
        try:
            limit = int((cgroup / name).read_text())
        except (OSError, ValueError):  # "max" is no number
            continue
        return limit if limit < 2**60 else None  # v1's word for no limit
    return None
