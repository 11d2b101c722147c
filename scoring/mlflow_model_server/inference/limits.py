"""The memory that requests may take: of one, and of all that are in flight in this process."""

from __future__ import annotations

import os
from fractions import Fraction

from mlflow_model_server.codecs.limits import Limits
from mlflow_model_server.responses import ErrorResponse, Rejected
from mlflow_model_server.runtime import cgroup
from mlflow_model_server.settings import Settings

_MAX_BODY = 64 * 2**20
_MIN_BODY = 2**20
# What one body may become: the parsers that stop everything else are done with it within a second.
_MAX_PARSED = 768 * 2**20
# A body becomes many times its size while it is parsed.
_BODIES_PER_MEMORY_LIMIT = 128
# Shares of the memory: of the bodies of all requests together; of what one body may become; and of
# what several may become at the same time. More than that one body becomes by itself. And of the
# traces that wait to be written. Together with what Python, pandas and MLflow take, it is less than
# half of 2 GiB.
_OF_BODIES = Fraction(1, 8)
_OF_ONE = Fraction(1, 4)
_OF_SEVERAL = Fraction(3, 16)
_OF_TRACES = Fraction(1, 16)


class BytesBudget:
    """The bytes that all requests in flight may hold together. For the event loop's thread."""

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.used = 0

    def reservation(self, maximum: int) -> Reservation:
        """For one request, which may hold `maximum` bytes."""
        return Reservation(self, maximum)


class Reservation:
    """The bytes that one request holds.

    They are free again when whoever holds the reservation (its request, and the thread that
    predicts for it) has released it.
    """

    __slots__ = ("_budget", "_holders", "_maximum", "size")

    def __init__(self, budget: BytesBudget, maximum: int) -> None:
        self._budget = budget
        self._maximum = maximum
        self._holders = 1
        self.size = 0

    def grow(self, size: int) -> None:
        """Reserves `size` bytes in all, before they are there.

        Raises Rejected where that is more than a request may have, or more than there is now.
        """
        more = size - self.size
        if more <= 0:
            return
        if size > self._maximum:
            raise Rejected(_too_large(self._maximum))
        if self._budget.used + more > self._budget.limit:
            raise Rejected(_no_memory(self._budget.limit))
        self._budget.used += more
        self.size = size

    def hold(self) -> None:
        """Adds a holder."""
        self._holders += 1

    def release(self) -> None:
        """To be called once by each holder."""
        self._holders -= 1
        if self._holders == 0:
            self._budget.used -= self.size
            self.size = 0


def max_body_bytes(settings: Settings, memory: int | None = None) -> int:
    """The bytes that the body of one request may have."""
    if settings.max_body_bytes:
        return settings.max_body_bytes
    return max(_MIN_BODY, min(_MAX_BODY, (memory or _memory()) // _BODIES_PER_MEMORY_LIMIT))


def max_bytes_in_flight(settings: Settings, memory: int | None = None) -> int:
    """The bytes that the bodies of all requests in this process may have together."""
    shared = _share(_OF_BODIES, settings, memory)
    grpc = settings.grpc_max_message_bytes if settings.grpc_port else 0
    minimum = max(max_body_bytes(settings, memory), grpc)
    return max(minimum, settings.max_bytes_in_flight or shared)


def parse_limits(settings: Settings, memory: int | None = None) -> Limits:
    """What the body of one request may become while it is parsed."""
    shared = _share(_OF_ONE, settings, memory)
    return Limits(settings.max_rows, settings.max_columns, min(_MAX_PARSED, shared))


def memory_for_parsing(settings: Settings, memory: int | None = None) -> int:
    """What the bodies of several requests may become at the same time, in this process."""
    return _share(_OF_SEVERAL, settings, memory)


def memory_for_traces(settings: Settings, memory: int | None = None) -> int:
    """What the traces of several requests may hold until they are written, in this process."""
    return _share(_OF_TRACES, settings, memory)


def _share(share: Fraction, settings: Settings, memory: int | None) -> int:
    return int((memory or _memory()) * share / settings.workers)


def _memory() -> int:
    """The bytes that this container may use, or that the machine has."""
    physical = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return min(cgroup.memory_limit() or physical, physical)


def _too_large(maximum: int) -> ErrorResponse:
    message = f"the body is longer than {maximum} bytes: send fewer rows"
    return ErrorResponse(413, "BAD_REQUEST", message)


def _no_memory(limit: int) -> ErrorResponse:
    return ErrorResponse(
        503,
        "TEMPORARILY_UNAVAILABLE",
        f"the requests in flight hold almost {limit} bytes, which is the limit: try again in 1 s",
        retry_after=1,
    )
