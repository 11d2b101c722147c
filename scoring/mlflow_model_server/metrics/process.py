"""CPU time, memory and open files of all of the server's processes, from /proc."""

from __future__ import annotations

import os
import resource
from collections.abc import Iterable
from pathlib import Path

from mlflow_model_server.metrics.exposition import Process

_PROC = Path("/proc")


def usage(pids: Iterable[int], start_time: float) -> Process:
    """Of this process, of those in `pids`, and the CPU time of its children that have ended."""
    others = {pid for pid in pids if pid != os.getpid()}
    everyone = {os.getpid(), *others}
    return Process(
        cpu_seconds=_own_and_ended_cpu() + sum(map(_cpu_of, others)),
        start_time=start_time,
        resident_bytes=sum(map(_resident, everyone)) if _PROC.is_dir() else None,
        open_fds=sum(map(_open_files, everyone)) if _PROC.is_dir() else None,
        max_fds=resource.getrlimit(resource.RLIMIT_NOFILE)[0],
    )


def _own_and_ended_cpu() -> float:
    used = [
        resource.getrusage(processes)
        for processes in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)
    ]
    return sum(usage.ru_utime + usage.ru_stime for usage in used)


def _cpu_of(pid: int) -> float:
    # The name, in brackets, may have spaces and brackets itself.
    fields = _read(pid, "stat").rpartition(")")[2].split()
    # proc(5): utime and stime are the 14th and 15th; the 3rd is the first after the name.
    return sum(map(int, fields[11:13])) / os.sysconf("SC_CLK_TCK")


def _resident(pid: int) -> int:
    pages = _read(pid, "statm").split()[1:2]
    return sum(map(int, pages)) * os.sysconf("SC_PAGE_SIZE")


def _open_files(pid: int) -> int:
    try:
        return sum(1 for _ in (_PROC / str(pid) / "fd").iterdir())
    except OSError:  # it has just ended
        return 0


def _read(pid: int, name: str) -> str:
    try:
        return (_PROC / str(pid) / name).read_text()
    except OSError:  # it has just ended
        return ""
