"""A sampled log of requests as JSON lines. It never waits: what can't be written is dropped."""

from __future__ import annotations

import errno
import json
import logging
import os
import sys
import threading
import time
from collections import deque
from pathlib import Path
from typing import BinaryIO, NamedTuple

from mlflow_model_server.settings import Settings

log = logging.getLogger(__name__)

_MAX_QUEUED = 1000
MAX_BODY_BYTES = 4 * 1024  # of a body that is logged
_MAX_NAME_LENGTH = 200  # of a caller, which may be a token's subject, or of a route
# Of any line: in JSON a byte takes at most six, as in \u0000, and both bodies may be there.
MAX_LINE_BYTES = 64 * 1024
_FLUSH_INTERVAL = 1.0  # seconds


class RequestLog:
    """Queues entries in the event loop's thread, and writes them in another."""

    def __init__(self, sink: Sink, sample: float, bodies: bool, dropped: memoryview[float]) -> None:
        """`dropped` is one number: the requests that were not logged."""
        self.wake = threading.Event()
        self._sink = sink
        self._sample = sample
        self._bodies = bodies
        self._dropped = dropped
        self._accumulated = 0.0
        self._queue: deque[_Entry] = deque()

    def should_log(self) -> bool:
        """Whether this request is in the sample; call it once for each."""
        self._accumulated += self._sample
        if self._accumulated < 1:
            return False
        self._accumulated -= 1
        return True

    def write(
        self,
        route: str,
        code: int,
        seconds: float,
        rows: int | None = None,
        request: bytes = b"",
        response: bytes = b"",
        traceparent: str | None = None,
        caller: str | None = None,
        response_bytes: int | None = None,
    ) -> None:
        """Logs one request. Headers never are: they have keys. `caller` is the name of a key.

        `response_bytes` is for a response of which `response` is only the beginning.
        """
        if len(self._queue) >= _MAX_QUEUED:
            self._dropped[0] += 1
            return
        logged = MAX_BODY_BYTES if self._bodies else 0
        self._queue.append(
            _Entry(
                time.time(),
                route[:_MAX_NAME_LENGTH],
                code,
                seconds,
                rows,
                traceparent and traceparent[:_MAX_NAME_LENGTH],
                caller and caller[:_MAX_NAME_LENGTH],
                len(request),
                len(response) if response_bytes is None else response_bytes,
                request[:logged],
                response[:logged],
            )
        )
        if len(self._queue) == 1:
            self.wake.set()

    def run(self) -> None:
        """Writes until the process ends."""
        failing = False
        while True:
            self.wake.wait(_FLUSH_INTERVAL)
            self.wake.clear()
            try:
                self.flush()
                failing = False
            except Exception as error:  # the next entry is perhaps written
                if not failing:  # once, not for each request of a day with a full disk
                    log.error("the request log can't be written: %s", error)
                failing = True

    def flush(self) -> None:
        """Writes the queue. Raises OSError; the entry that was being written counts as dropped."""
        while self._queue:
            entry = self._queue.popleft()
            try:
                self._sink.write(entry.line(self._bodies))
            except Exception:
                self._dropped[0] += 1
                raise


class _Entry(NamedTuple):
    time: float
    route: str
    code: int
    seconds: float
    rows: int | None
    traceparent: str | None
    caller: str | None
    request_bytes: int
    response_bytes: int
    request: bytes
    response: bytes

    def line(self, bodies: bool) -> bytes:
        values = self._asdict()
        values["time"], values["seconds"] = round(self.time, 3), round(self.seconds, 6)
        for name in ("request", "response"):
            values[name] = values[name].decode("utf-8", "replace") if bodies else None
        present = {name: value for name, value in values.items() if value is not None}
        return json.dumps(present, ensure_ascii=False).encode("utf-8", "replace") + b"\n"


class Sink:
    """Where lines go: a stream."""

    def __init__(self, stream: BinaryIO) -> None:
        self._stream = stream

    def write(self, line: bytes) -> None:
        """Raises OSError."""
        self._stream.write(line)
        self._stream.flush()


class RotatingFile(Sink):
    """A file, and the one before it as `<name>.1`; both together have at most `max_bytes`."""

    def __init__(self, path: Path, max_bytes: int) -> None:
        """Raises OSError if the file can't be opened."""
        self._path = path
        self._max_bytes = max_bytes // 2
        self._open()

    def write(self, line: bytes) -> None:
        """Raises OSError."""
        if len(line) > self._max_bytes:
            raise OSError(errno.EFBIG, f"a line of {len(line)} bytes is too long", str(self._path))
        if self._stream.closed:  # it could not be opened last time
            self._open()
        if self._size + len(line) > self._max_bytes:
            self._stream.close()
            self._path.replace(f"{self._path}.1")
            self._open()
        super().write(line)
        self._size += len(line)

    def _open(self) -> None:
        super().__init__(self._path.open("ab"))
        self._size = self._stream.tell()


def start_request_log(settings: Settings, slot: int, dropped: memoryview[float]) -> RequestLog:
    """The log that the settings ask for, with its thread.

    Raises OSError if its file can't be opened.
    """
    request_log = RequestLog(
        _sink(settings, slot), settings.request_log_sample, settings.request_log_bodies, dropped
    )
    threading.Thread(target=request_log.run, name="request-log", daemon=True).start()
    return request_log


def _sink(settings: Settings, slot: int) -> Sink:
    if settings.request_log == "stdout":
        # A duplicate: a line is written at once, and nothing of it waits in sys.stdout's buffer.
        return Sink(os.fdopen(os.dup(sys.stdout.fileno()), "wb", buffering=0))
    path = Path(settings.request_log)
    if settings.workers > 1:  # each its own: files that several processes rotate lose lines
        path = path.with_stem(f"{path.stem}-{slot}")
    return RotatingFile(path, settings.request_log_max_bytes // settings.workers)
