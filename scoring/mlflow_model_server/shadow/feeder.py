"""The thread that looks at the file, has a child process send the copies, and feeds it.

It holds the interpreter's lock for a few microseconds at a time. It is of normal priority: a thread
of a lower one could be kept from running while it holds the lock, and the event loop with it.
"""

from __future__ import annotations

import logging
import os
import signal
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from mlflow_model_server.metrics import shadow_memory
from mlflow_model_server.metrics.shadow_memory import ShadowMemory
from mlflow_model_server.runtime import cgroup
from mlflow_model_server.settings import Settings
from mlflow_model_server.shadow.child import Child, ChildEnded, Resources
from mlflow_model_server.shadow.shadow import CopyQueue, Shadow
from mlflow_model_server.shadow.target import InvalidTarget, Target, TargetFile

log = logging.getLogger(__name__)

INTERVAL = 1.0  # seconds, from one look at the file to the next
_RESTART_INTERVAL = 5.0  # from the start of a child to that of the next
# Copies can wait: a thread that wakes up for each would ask for the lock as often.
_GATHER_SECONDS = 0.005
_CPU_SHARE = 0.1  # of the CPUs of a worker
_MAX_CPU_SHARE = 0.5  # of one CPU
_MIN_CHILD_BYTES = 96 * 2**20
_MAX_CHILD_BYTES = 256 * 2**20

StartChild = Callable[[Target], Child]


class Feeder:
    """Aims a worker's shadow at the target that the file names."""

    def __init__(
        self,
        file: TargetFile,
        counts: shadow_memory.ShadowPart,
        start_child: StartChild,
    ) -> None:
        """`start_child` may raise OSError."""
        self._wake = threading.Event()
        self.shadow = Shadow(self._wake)
        self._file = file
        self._counts = counts
        self._start_child = start_child
        self._target: Target | None = None
        self._queue = CopyQueue(0)
        self._dropped = 0.0  # all of this target but those of the queue
        self._child: Child | None = None
        self._child_started = -_RESTART_INTERVAL
        self._frames = memoryview(b"")  # that the child has not been given yet
        self._copies_in_frames = 0
        self._is_closing = False

    def start(self) -> None:
        """Begins, in a thread of its own."""
        threading.Thread(target=self._run, name="shadow", daemon=True).start()

    def close(self) -> None:
        """Abandons all copies, at once. For the event loop."""
        self._is_closing = True
        self.shadow.use(None, 0.0)
        self._wake.set()

    def _run(self) -> None:
        # Signals are for the main thread.
        signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
        next_look = 0.0
        while not self._is_closing:
            if time.monotonic() >= next_look:
                self.look()
                next_look = time.monotonic() + INTERVAL
            self.feed(next_look - time.monotonic())
        self._end_child()

    # Once a second

    def look(self) -> None:
        """Uses the file's target, and sees to the child."""
        try:
            if self._file.changed():
                self._use(self._file.read())
            self._supervise()
        except InvalidTarget as error:
            log.error("SHADOW_FILE can't be used, and no request is copied: %s", error)
            self._stop(shadow_memory.INVALID)
        except Exception:  # the next file is perhaps a better one
            log.exception("no request is copied until SHADOW_FILE changes")
            self._stop(shadow_memory.INVALID)
        self._count_dropped()

    def _use(self, target: Target | None) -> None:
        if target is None:
            if self._target is not None:
                log.info("no request is copied to %s any more", self._target.revision)
            self._stop(shadow_memory.NONE)
            return
        log.info("%g%% of the requests are copied to %s", target.percent, target.revision)
        if self._target is None or replace(self._target, percent=target.percent) != target:
            self._abandon()
            self._counts.begin(target.revision, target.model_version)
            self._dropped = self._counts.numbers[_DROPPED]
            self._queue = CopyQueue(target.max_body_bytes)
            self._child_started = -_RESTART_INTERVAL
        self._target = target
        self.shadow.use(self._queue, target.percent / 100)

    def _stop(self, state: int) -> None:
        self.shadow.use(None, 0.0)
        self._target = None
        self._abandon()
        self._counts.end(state)

    def _abandon(self) -> None:
        """All copies that have not been answered."""
        self._end_child()
        self._dropped += self._queue.dropped + len(self._queue)
        self._queue = CopyQueue(0)
        self._count_dropped()

    def _supervise(self) -> None:
        if self._child is not None and self._child.has_ended:
            self._replace_child()
        is_due = time.monotonic() - self._child_started >= _RESTART_INTERVAL
        if self._child is None and self._target is not None and is_due:
            self._child_started = time.monotonic()
            try:
                self._child = self._start_child(self._target)
                self._counts.numbers[shadow_memory.PID] = self._child.pid
            except OSError as error:
                log.error("no process can be started that sends copies: %s", error)

    def _replace_child(self) -> None:
        """It has ended by itself; the next look starts another."""
        log.error("the process that sends copies has ended by itself")
        self._end_child()

    def _end_child(self) -> None:
        if self._child is not None:
            self._child.end()
            self._child = None
            self._counts.numbers[shadow_memory.PID] = 0
        # The next one could make nothing of the rest of a frame.
        self._dropped += self._copies_in_frames
        self._frames, self._copies_in_frames = memoryview(b""), 0

    def _count_dropped(self) -> None:
        if self._target is not None:
            self._counts.numbers[_DROPPED] = self._dropped + self._queue.dropped

    # All the time

    def feed(self, seconds: float) -> None:
        """Gives the child copies, or waits for the next, or for its turn, so many seconds."""
        if self._child is None:
            self._wait(seconds)
            return
        if not self._frames:
            copies = self._queue.take()
            self._frames = memoryview(b"".join(copy.frame() for copy in copies))
            self._copies_in_frames = len(copies)
        if not self._frames:
            self._wait(seconds)
            return
        try:
            self._frames = self._frames[self._child.write(self._frames) :]
        except ChildEnded:
            self._replace_child()
        if not self._frames:
            self._copies_in_frames = 0

    def _wait(self, seconds: float) -> None:
        if self._wake.wait(max(0.0, seconds)):
            self._wake.clear()
            time.sleep(_GATHER_SECONDS)


_DROPPED = shadow_memory.place_of(shadow_memory.DROPPED)


def make_feeder(settings: Settings, file: Path, memory: ShadowMemory, slot: int) -> Feeder:
    """The feeder of the worker with number `slot`, from 0; call it in the worker."""
    max_bytes = _child_bytes(cgroup.memory_limit())
    resources = Resources(memory.file, slot, _cpu_share(settings.workers), max_bytes)
    sender = settings.revision or "true"
    return Feeder(
        TargetFile(file),
        memory.part(slot),
        lambda target: Child(target, sender, resources),
    )


def _cpu_share(workers: int) -> float:
    cpus = cgroup.cpu_limit() or os.cpu_count() or 1
    return min(_MAX_CPU_SHARE, _CPU_SHARE * cpus / workers)


def _child_bytes(limit: int | None) -> int:
    """What a child may use where the container has this limit."""
    if limit is None:
        return _MAX_CHILD_BYTES
    return max(_MIN_CHILD_BYTES, min(_MAX_CHILD_BYTES, limit // 8))
