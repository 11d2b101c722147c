"""What a worker's event loop does for its shadow: chooses requests, and queues their copies.

That is a drawn number for each request, and an entry in a bounded queue for each that is chosen.
The rest happens in a thread (feeder.py) and in a child process (sender.py).
"""

from __future__ import annotations

import random
import threading
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from mlflow_model_server.headers import Headers, first
from mlflow_model_server.responses import JSON, Response
from mlflow_model_server.shadow.frames import Copy

MAX_QUEUED = 256  # copies
MAX_QUEUED_BYTES = 8 * 2**20
_MAX_TAKEN_BYTES = 256 * 1024  # at once, unless a single copy has more
_HEADER = b"x-mlflow-shadow"

OnResponse = Callable[[Response | None], None]


class CopyQueue:
    """Copies on their way from the event loop to the thread. Each number has one writer."""

    def __init__(self, max_body_bytes: int) -> None:
        self.dropped = 0
        self._max_body_bytes = max_body_bytes
        self._copies: deque[Copy] = deque()
        self._reserved = self._reserved_bytes = 0
        self._removed = self._removed_bytes = 0

    def reserve(self, copy: Copy) -> bool:
        """Makes room for a copy, which is to be added later, or drops it."""
        if not self._has_room(copy):
            self.dropped += 1
            return False
        self._reserved_bytes += copy.size
        self._reserved += 1
        return True

    def add(self, copy: Copy) -> bool:
        """Adds a copy that has room; returns whether the queue was empty."""
        self._copies.append(copy)
        return len(self._copies) == 1

    def take(self) -> list[Copy]:
        """Removes the next copies, if there are any."""
        copies: list[Copy] = []
        length = 0
        while self._copies and length < _MAX_TAKEN_BYTES:
            copies.append(self._copies.popleft())
            length += copies[-1].size
        self._removed += len(copies)
        self._removed_bytes += length
        return copies

    def __len__(self) -> int:
        return len(self._copies)

    def _has_room(self, copy: Copy) -> bool:
        bytes_reserved = self._reserved_bytes - self._removed_bytes
        return (
            self._reserved - self._removed < MAX_QUEUED
            and len(copy.body) <= self._max_body_bytes
            and len(copy.answer) <= self._max_body_bytes
            and bytes_reserved + copy.size <= MAX_QUEUED_BYTES
        )


class Shadow:
    """Copies some of the requests of this worker, while there is a queue for them."""

    def __init__(self, wake: threading.Event, draw: Callable[[], float] = random.random) -> None:
        """Sets `wake` when the queue is no longer empty. `draw` gives numbers from 0 to below 1."""
        self._wake = wake
        self._draw = draw
        self._ratio = 0.0
        self._queue: CopyQueue | None = None

    def use(self, queue: CopyQueue | None, ratio: float) -> None:
        """From now on, copies this ratio of the requests to this queue. From any thread."""
        self._queue, self._ratio = queue, ratio

    def selects(self, headers: Headers) -> bool:
        """Whether a request is chosen to be copied, which copies themselves never are."""
        return self._draw() < self._ratio and first(headers, _HEADER) is None

    def copying(
        self, path: bytes, headers: Headers, body: bytes | bytearray, on_response: OnResponse
    ) -> OnResponse:
        """What calls `on_response`, and copies the request afterwards."""

        def respond(response: Response | None) -> None:
            if response is None:
                on_response(None)
                return
            with self.copying_after(path, headers, body, response):
                on_response(response)

        return respond

    @contextmanager
    def copying_after(
        self, path: bytes, headers: Headers, body: bytes | bytearray, response: Response
    ) -> Iterator[None]:
        """Copies the request, if it was answered with predictions in JSON, after the block.

        Until then, the queue has room for the copy: clients that read slowly take no more memory.
        """
        queue = self._queue
        copy = None if queue is None else _copy(path, headers, body, response)
        if queue is None or copy is None or not queue.reserve(copy):
            yield
            return
        try:
            yield
        finally:
            if queue.add(copy):
                self._wake.set()


def _copy(
    path: bytes, headers: Headers, body: bytes | bytearray, response: Response
) -> Copy | None:
    if not 200 <= response.status < 300 or response.content_type != JSON:
        return None
    content_type = first(headers, b"content-type") or b""
    authorization = first(headers, b"authorization") or b""
    return Copy(path, content_type, authorization, bytes(body), response.body)
