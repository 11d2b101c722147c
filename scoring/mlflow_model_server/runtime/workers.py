"""Several processes that serve the same socket, and the first process, which supervises them."""

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
    on_stop: Callable[[], None],
    stop_timeout: int,
    on_started: Callable[[], None] = lambda: None,
) -> int:
    """Runs `work` in `count` processes until SIGTERM; returns the exit code.

    `work` gets the worker's number, from 0, and a function to call when it is ready. Calls
    `on_started` in this process when the first have been forked, and `on_stop` before they are
    stopped; kills those that have not ended after `stop_timeout` seconds. A worker that ends after
    it was ready is replaced by one of the same number. A worker that never became ready ends all:
    a replacement would fail in the same way, and Kubernetes backs off between restarts.
    """
    return _Supervisor(count, work, on_stop, stop_timeout, on_started).run()


class _Supervisor:
    def __init__(
        self,
        count: int,
        work: Work,
        on_stop: Callable[[], None],
        stop_timeout: int,
        on_started: Callable[[], None],
    ) -> None:
        self._count = count
        self._work = work
        self._on_stop = on_stop
        self._stop_timeout = stop_timeout
        self._on_started = on_started
        self._workers: dict[int, _Worker] = {}
        self._stopping = False

    def run(self) -> int:
        signal.signal(signal.SIGTERM, self._stop)
        signal.signal(signal.SIGINT, self._stop)
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
            if self._stopping:
                continue
            ended = os.waitstatus_to_exitcode(status)
            if was_ready:
                log.warning("worker %d exited with code %d: starting another", pid, ended)
                self._start(worker.slot)
            else:
                log.error("worker %d exited with code %d before it was ready", pid, ended)
                code = ended if ended > 0 else 128 - ended
                self._stop(signal.SIGTERM, None)
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
            self._work(slot, lambda: _signal_ready(writer))
            os._exit(0)
        except BaseException:
            traceback.print_exc()
            sys.stderr.flush()
            os._exit(1)

    def _stop(self, _number: int, _frame: FrameType | None) -> None:
        self._stopping = True
        self._on_stop()
        for pid in self._workers:
            os.kill(pid, signal.SIGTERM)
        signal.alarm(self._stop_timeout)

    def _kill(self, _number: int, _frame: FrameType | None) -> None:
        for pid in self._workers:
            os.kill(pid, signal.SIGKILL)


def _signal_ready(writer: int) -> None:
    os.write(writer, b"1")
