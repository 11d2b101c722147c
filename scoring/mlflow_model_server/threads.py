"""How many threads a prediction may use."""

from __future__ import annotations

import os
from pathlib import Path

# What OpenMP, OpenBLAS, MKL and the like read when they are loaded.
VARIABLES = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
_CGROUP = Path("/sys/fs/cgroup")


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


def allowed_threads() -> int | None:
    """What `limit_threads` or the user said, for libraries that read no variable; None: nothing."""
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
