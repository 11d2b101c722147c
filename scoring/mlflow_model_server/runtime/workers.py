"""Several processes that serve the same socket, and a first one that looks after them."""

from __future__ import annotations

import logging
import os
import signal
import sys
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from types import FrameType

log = logging.getLogger(__name__)

Work = Callable[[int, Callable[[], None]], None]


@dataclass
class _Worker:
    pid: int
    slot: int
    ready: int  # the reading end of a pipe that holds a byte when the worker is ready

    def was_ready(self) -> bool:
        """Whether it got ready before it ended; only once, as it closes the pipe."""
        try:
            return os.read(self.ready, 1) != b""
        except BlockingIOError:  # nothing in it, and a child of the worker holds the other end
            return False
        finally:
            os.close(self.ready)


def run(
    count: int,
    work: Work,
    on_end: Callable[[], None],
    seconds_to_end: int,
    on_started: Callable[[], None] = lambda: None,
) -> int:
    """Runs `work` in `count` processes until SIGTERM; returns the exit code.

    `work` gets the worker's number, from 0, and a function to call when it is ready. Calls
    `on_started` in this process when the first have been forked, and `on_end` when they are told to
    end; kills those that have not after `seconds_to_end`. A worker that ends after it was ready is
    replaced by one of the same number. One that never got ready ends all: the next would fare no
    better, and Kubernetes waits longer from try to try.
    """
    return _Crew(count, work, on_end, seconds_to_end, on_started).run()


class _Crew:
    def __init__(
        self,
        count: int,
        work: Work,
        on_end: Callable[[], None],
        seconds_to_end: int,
        on_started: Callable[[], None],
    ) -> None:
        self._count = count
        self._work = work
        self._on_end = on_end
        self._seconds_to_end = seconds_to_end
        self._on_started = on_started
        self._workers: dict[int, _Worker] = {}
        self._ending = False

    def run(self) -> int:
        signal.signal(signal.SIGTERM, self._end)
        signal.signal(signal.SIGINT, self._end)
        signal.signal(signal.SIGALRM, self._kill)
        for slot in range(self._count):
            self._start(slot)
        self._on_started()
        code = 0
        while self._workers:
            # As the first process of the container it also inherits orphans, and lets them go.
            pid, status = os.wait()
            worker = self._workers.pop(pid, None)
            if worker is None:
                continue
            was_ready = worker.was_ready()
            if self._ending:
                continue
            ended = os.waitstatus_to_exitcode(status)
            if was_ready:
                log.warning("worker %d ended with %d: starting another", pid, ended)
                self._start(worker.slot)
            else:
                log.error("worker %d ended with %d before it was ready", pid, ended)
                code = ended if ended > 0 else 128 - ended
                self._end(signal.SIGTERM, None)
        return code

    def _start(self, slot: int) -> None:
        reader, writer = os.pipe()
        os.set_blocking(reader, False)
        # Between fork and the entry into _workers no signal may come: the worker would miss it.
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM, signal.SIGINT})
        pid = os.fork()
        if pid == 0:
            self._be_worker(slot, writer)
        self._workers[pid] = _Worker(pid, slot, reader)
        os.close(writer)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGTERM, signal.SIGINT})

    def _be_worker(self, slot: int, writer: int) -> None:
        """Does the work, and ends the process whatever happens."""
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGALRM):
            signal.signal(number, signal.SIG_DFL)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGTERM, signal.SIGINT})
        try:
            self._work(slot, lambda: _tell(writer))
            os._exit(0)
        except BaseException:
            traceback.print_exc()
            sys.stderr.flush()
            os._exit(1)

    def _end(self, _number: int, _frame: FrameType | None) -> None:
        self._ending = True
        self._on_end()
        for pid in self._workers:
            os.kill(pid, signal.SIGTERM)
        signal.alarm(self._seconds_to_end)

    def _kill(self, _number: int, _frame: FrameType | None) -> None:
        for pid in self._workers:
            os.kill(pid, signal.SIGKILL)


def _tell(writer: int) -> None:
    os.write(writer, b"1")
