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

_MOST_WAITING = 1000
_MOST_OF_A_BODY = 4 * 1024  # bytes
_SECONDS_BETWEEN = 1.0


class RequestLog:
    """Takes entries from the event loop's thread, and writes them in another."""

    def __init__(self, sink: Sink, sample: float, bodies: bool, dropped: memoryview[float]) -> None:
        """`dropped` is one number: of the requests that were not logged."""
        self.wake = threading.Event()
        self._sink = sink
        self._sample = sample
        self._bodies = bodies
        self._dropped = dropped
        self._share = 0.0
        self._waiting: deque[_Entry] = deque()

    def should_log(self) -> bool:
        """Whether this request is one of the sample; ask once for each."""
        self._share += self._sample
        if self._share < 1:
            return False
        self._share -= 1
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
    ) -> None:
        """Logs one request. Headers never are: they have keys. `caller` is the name of a key."""
        if len(self._waiting) >= _MOST_WAITING:
            self._dropped[0] += 1
            return
        most = _MOST_OF_A_BODY if self._bodies else 0
        self._waiting.append(
            _Entry(
                time.time(),
                route,
                code,
                seconds,
                rows,
                traceparent,
                caller,
                len(request),
                len(response),
                request[:most],
                response[:most],
            )
        )
        if len(self._waiting) == 1:
            self.wake.set()

    def run(self) -> None:
        """Writes for ever."""
        fails = False
        while True:
            self.wake.wait(_SECONDS_BETWEEN)
            self.wake.clear()
            try:
                self.flush()
                fails = False
            except OSError as error:
                if not fails:  # once, not with each request of a day with a full disk
                    log.error("the request log can't be written: %s", error)
                fails = True

    def flush(self) -> None:
        """Writes all that waits. Raises OSError; what was being written is lost, and counted."""
        while self._waiting:
            line = self._waiting.popleft().line(self._bodies)
            try:
                self._sink.write(line)
            except OSError:
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
        told = self._asdict()
        told["time"], told["seconds"] = round(self.time, 3), round(self.seconds, 6)
        for name in ("request", "response"):
            told[name] = told[name].decode("utf-8", "replace") if bodies else None
        known = {name: value for name, value in told.items() if value is not None}
        return json.dumps(known, ensure_ascii=False).encode("utf-8", "replace") + b"\n"


class Sink:
    """Where lines go: a stream."""

    def __init__(self, stream: BinaryIO) -> None:
        self._stream = stream

    def write(self, line: bytes) -> None:
        """Raises OSError."""
        self._stream.write(line)
        self._stream.flush()


class RotatingFile(Sink):
    """A file, and the one before it as `<name>.1`; both together have at most `most_bytes`."""

    def __init__(self, path: Path, most_bytes: int) -> None:
        """Raises OSError if the file can't be opened."""
        self._path = path
        self._most = most_bytes // 2
        self._open()

    def write(self, line: bytes) -> None:
        """Raises OSError."""
        if len(line) > self._most:
            raise OSError(errno.EFBIG, f"a line of {len(line)} bytes is too much", str(self._path))
        if self._stream.closed:  # it could not be opened last time
            self._open()
        if self._size + len(line) > self._most:
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
    made = RequestLog(
        _sink(settings, slot), settings.request_log_sample, settings.request_log_bodies, dropped
    )
    threading.Thread(target=made.run, name="request-log", daemon=True).start()
    return made


def _sink(settings: Settings, slot: int) -> Sink:
    if settings.request_log == "stdout":
        # A duplicate: a line is written at once, and nothing of it waits in sys.stdout's buffer.
        return Sink(os.fdopen(os.dup(sys.stdout.fileno()), "wb", buffering=0))
    path = Path(settings.request_log)
    if settings.workers > 1:  # each its own: files that several processes rotate lose lines
        path = path.with_stem(f"{path.stem}-{slot}")
    return RotatingFile(path, settings.request_log_max_bytes // settings.workers)
