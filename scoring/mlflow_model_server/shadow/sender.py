"""The process that sends copies and compares the answers.

It is a process of its own: whatever a shadow answers, no real request shares an interpreter, a
lock, memory or a place in the scheduler's queue with what is done about it. It takes no more copies
than it can handle; its parent drops the others.
"""

from __future__ import annotations

import asyncio
import gc
import logging
import os
import socket
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from typing import NoReturn

from mlflow_model_server.metrics import shadow_memory
from mlflow_model_server.metrics.shadow_memory import ShadowPart
from mlflow_model_server.runtime import cgroup
from mlflow_model_server.shadow import frames
from mlflow_model_server.shadow.client import Answer, AnswerTooLong, Client, InvalidAnswer
from mlflow_model_server.shadow.comparison import Comparison, Incomparable, compare
from mlflow_model_server.shadow.examples import INTERVAL, Examples
from mlflow_model_server.shadow.frames import Copy
from mlflow_model_server.shadow.pace import CpuPace
from mlflow_model_server.shadow.target import Target

log = logging.getLogger(__name__)

MAX_IN_FLIGHT = 8  # copies, each with a connection
MAX_BYTES_IN_FLIGHT = 24 * 2**20  # of copies and answers; a single one may have more
# After a copy that could not be sent: to try all of them would take CPU for nothing.
_UNREACHABLE_PAUSE = 0.1  # seconds
_SMALL = 32 * 1024  # bytes of answers that are compared in less time than a thread needs to begin
_STACK_BYTES = 512 * 1024


@dataclass(frozen=True)
class Options:
    """What the parent says of its child."""

    target: Target
    sender: str  # the revision that the copies come from
    cpu_share: float
    max_bytes: int  # of memory


def run(copies: socket.socket, part: ShadowPart, options: Options) -> NoReturn:
    """Sends what comes from the socket until that ends, and ends the process."""
    _be_modest(options.max_bytes)
    with suppress(asyncio.IncompleteReadError, ConnectionError):
        asyncio.run(Sender(part, options).run(copies))
    # At once: nobody waits for what is in flight.
    os._exit(0)


def _be_modest(max_bytes: int) -> None:
    if hasattr(os, "SCHED_IDLE"):  # on CPUs that nothing else needs
        with suppress(OSError):  # not every sandbox has it
            os.sched_setscheduler(0, os.SCHED_IDLE, os.sched_param(0))
    threading.stack_size(_STACK_BYTES)
    sys.setswitchinterval(0.0005)  # a long comparison delays no answer of another copy
    cgroup.limit_memory(max_bytes)
    gc.freeze()


class Sender:
    """Sends copies, a few at a time."""

    def __init__(self, part: ShadowPart, options: Options) -> None:
        self._part = part
        self._target = options.target
        self._client = Client(options.target, options.sender)
        self._examples = Examples(options.target.revision, options.target.examples)
        self._pace = CpuPace(options.cpu_share)
        self._comparer = ThreadPoolExecutor(1)
        self._tasks: set[asyncio.Task[None]] = set()
        self._bytes = 0
        self._has_room = asyncio.Event()
        self._paused_until = 0.0

    async def run(self, copies: socket.socket) -> None:
        """Until the stream ends, which raises IncompleteReadError."""
        examples = asyncio.create_task(self._log_examples())
        reader, writer = await asyncio.open_unix_connection(sock=copies)
        try:
            while True:
                await self._wait_for_room()
                self._begin(await frames.read(reader))
        finally:
            examples.cancel()
            writer.close()

    async def _wait_for_room(self) -> None:
        while len(self._tasks) >= MAX_IN_FLIGHT or self._bytes > MAX_BYTES_IN_FLIGHT:
            self._has_room.clear()
            await self._has_room.wait()
        delay = max(self._pace.delay(), self._paused_until - time.monotonic())
        if delay > 0:
            await asyncio.sleep(delay)

    def _begin(self, copy: Copy) -> None:
        size = copy.size + self._target.max_body_bytes
        self._bytes += size
        task = asyncio.create_task(self._handle(copy))
        self._tasks.add(task)

        def ended(task: asyncio.Task[None]) -> None:
            self._tasks.discard(task)
            self._bytes -= size
            self._has_room.set()

        task.add_done_callback(ended)

    async def _handle(self, copy: Copy) -> None:
        started = time.perf_counter()
        try:
            answer = await asyncio.wait_for(self._client.post(copy), self._target.timeout)
        except (TimeoutError, asyncio.TimeoutError):  # before OSError, which the first is
            self._part.count(shadow_memory.TIMEOUT)
        except (OSError, UnicodeError):  # the second for names that are none
            self._part.count(shadow_memory.UNREACHABLE)
            self._paused_until = time.monotonic() + _UNREACHABLE_PAUSE
        except (AnswerTooLong, InvalidAnswer):
            self._part.count(shadow_memory.ERROR)
        except Exception:
            self._part.count(shadow_memory.ERROR)
            log.exception("a copy failed")
        else:
            await self._judge(copy, answer, answer.ended_at - started)

    async def _judge(self, copy: Copy, answer: Answer, seconds: float) -> None:
        if not answer.is_success:
            self._part.count(shadow_memory.ERROR, seconds)
            return
        try:
            comparison = await self._compare(copy.answer, answer.body)
        except (Incomparable, MemoryError):
            self._part.count(shadow_memory.INCOMPARABLE, seconds)
            return
        self._part.count(shadow_memory.OK, seconds)
        self._part.count_rows(
            comparison.rows,
            comparison.disagreed,
            comparison.numeric_rows,
            comparison.absolute_error,
        )
        if comparison.difference is not None:
            self._examples.add(copy, comparison.difference)

    async def _compare(self, stable: bytes, shadow: bytes) -> Comparison:
        if len(stable) + len(shadow) <= _SMALL:
            return compare(stable, shadow)
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._comparer, compare, stable, shadow)

    async def _log_examples(self) -> None:
        while True:
            await asyncio.sleep(INTERVAL)
            self._examples.write()
