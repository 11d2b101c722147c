"""What the command lines here share: one run at a time, and problems told in a sentence."""

from __future__ import annotations

import fcntl
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from .errors import ClusterError
from .progress import say
from .settings import Settings


def exit_code(work: Callable[[], int | None]) -> int:
    """Do the work; a problem that people can do something about is one sentence."""
    try:
        return work() or 0
    except ClusterError as problem:
        print(f"error: {problem}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("\nInterrupted; run it again to continue.", file=sys.stderr)
        return 130


@contextmanager
def one_at_a_time(settings: Settings) -> Iterator[None]:
    """Wait for other runs that use the same cache."""
    # Two runs would start two engines and build everything twice. The lock ends with the process,
    # however it ends.
    settings.cache.mkdir(parents=True, exist_ok=True)
    with (settings.cache / "lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            say("Waiting for another run that uses the same cache.")
            fcntl.flock(lock, fcntl.LOCK_EX)
        yield
