"""Requests to models, as their clients send them: through the gateway, one by one or as a load."""

from __future__ import annotations

import os
import threading
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import requests

GENTLE = 16  # requests a second: on a small machine, new pods need the processors too
REQUEST_SECONDS = 30
LOAD_THREADS = 4


def gateway_url() -> str:
    """Where the cluster's shared gateway answers on this machine."""
    port = os.environ.get("GATEWAY_PORT", "8088")
    return os.environ.get("GATEWAY_URL", f"http://127.0.0.1:{port}").rstrip("/")


class RequestFailed(Exception):
    """An answer other than predictions; the message says what came instead."""


@dataclass(frozen=True)
class Endpoint:
    """A model behind the gateway, known by its host name (and path)."""

    hostname: str
    path: str = "/"

    @property
    def url(self) -> str:
        """Where invocations go, on this machine."""
        return f"{gateway_url()}{self.path.rstrip('/')}/invocations"

    def predict(
        self,
        rows: Sequence[Sequence[float]],
        columns: Sequence[str] | None = None,
        session: requests.Session | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> list[Any]:
        """The predictions for rows of a table. Raises RequestFailed."""
        table: dict[str, Any] = {"data": [list(row) for row in rows]}
        if columns is not None:
            table["columns"] = list(columns)
        sender = session or requests
        try:
            response = sender.post(
                self.url,
                json={"dataframe_split": table},
                headers={"Host": self.hostname, **(headers or {})},
                timeout=REQUEST_SECONDS,
            )
            if response.status_code != 200:
                raise RequestFailed(f"{response.status_code} {response.text[:300]}")
            predictions: list[Any] = response.json()["predictions"]
        except (requests.RequestException, ValueError, KeyError) as error:
            raise RequestFailed(f"{type(error).__name__}: {error}") from error
        return predictions


@dataclass(frozen=True)
class Request:
    """What is asked again and again."""

    endpoint: Endpoint
    row: Sequence[float]
    columns: Sequence[str] | None = None
    headers: Mapping[str, str] = field(default_factory=dict)

    def send(self, session: requests.Session | None = None) -> Any:
        """The prediction for the row. Raises RequestFailed."""
        return self.endpoint.predict([self.row], self.columns, session, self.headers)[0]


def count_answers(request: Request, times: int) -> Counter[Any]:
    """Sends a request `times` times, some at once, and counts each answer.

    Raises RequestFailed if a single one fails.
    """
    shares = [times // LOAD_THREADS + (n < times % LOAD_THREADS) for n in range(LOAD_THREADS)]
    counts: Counter[Any] = Counter()
    failures: list[RequestFailed] = []

    def ask(share: int) -> None:
        with requests.Session() as session:
            for _ in range(share):
                try:
                    counts[request.send(session)] += 1
                except RequestFailed as failure:
                    failures.append(failure)

    threads = [threading.Thread(target=ask, args=(share,)) for share in shares]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if failures:
        raise RequestFailed(f"{len(failures)} of {times} requests failed, first: {failures[0]}")
    return counts


@dataclass
class Load:
    """A steady load and what came of it. Times are of `time.monotonic`."""

    answers: list[tuple[float, Any]] = field(default_factory=list)
    failures: list[tuple[float, str]] = field(default_factory=list)

    @property
    def sent(self) -> int:
        """Requests that have been answered or have failed."""
        return len(self.answers) + len(self.failures)

    def first(self, answer: Any) -> float | None:
        """When this answer came for the first time."""
        return min((when for when, what in list(self.answers) if what == answer), default=None)

    def last(self, answer: Any) -> float | None:
        """When this answer came for the last time."""
        return max((when for when, what in list(self.answers) if what == answer), default=None)

    def counts(self) -> Counter[Any]:
        """How often each answer came."""
        return Counter(what for _, what in list(self.answers))


@contextmanager
def under_load(request: Request, per_second: float = 40) -> Iterator[Load]:
    """Sends a request at a steady rate from a few threads until the block ends."""
    load = Load()
    stop = threading.Event()

    def ask() -> None:
        with requests.Session() as session:
            due = time.monotonic()
            while not stop.wait(max(0.0, due - time.monotonic())):
                # A slow answer is not made up for by a burst.
                due = max(due, time.monotonic() - 1) + LOAD_THREADS / per_second
                try:
                    answer = request.send(session)
                    load.answers.append((time.monotonic(), answer))
                except RequestFailed as failure:
                    load.failures.append((time.monotonic(), str(failure)))

    threads = [threading.Thread(target=ask, daemon=True) for _ in range(LOAD_THREADS)]
    for thread in threads:
        thread.start()
    try:
        yield load
    finally:
        stop.set()
        for thread in threads:
            thread.join()
