"""One tracking server as all resources share it: each query is sent once, and polled once.

Resources subscribe to model URIs. The queries that those need are derived from them again at each
poll, so nothing has to be counted and nothing is left behind.

Resolving never waits for a server: what is not known yet is pending, and the subscribers are
notified when it is known, or when that takes too long.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Protocol

from mlflow_model_operator.api.model_version import (
    ModelVersion,
    ResolutionError,
    ResolutionPending,
)
from mlflow_model_operator.api.reasons import Reason
from mlflow_model_operator.api.resource import Key
from mlflow_model_operator.registry import resolution
from mlflow_model_operator.registry.resolution import (
    Failure,
    Metadata,
    ModelQuery,
    Query,
    Result,
    ServedUri,
    VersionMetadata,
    followed_alias,
    is_immutable,
    subject,
)
from mlflow_model_operator.registry.tracking_server import TRANSIENT, TrackingServer

log = logging.getLogger(__name__)

MAX_CONCURRENT_QUERIES = 4
# How long a URI may be pending before its server counts as unreachable.
RESOLVE_TIMEOUT = 5.0  # seconds
# A server that keeps failing is polled at every second interval only.
MAX_BACKOFF = 2


class RegistryObserver(Protocol):
    """Gets each poll, for metrics."""

    def registry_polled(self, server: str, result: str, seconds: float) -> None:
        """`result` is "success" or the reason of the failure."""

    def registry_removed(self, server: str) -> None:
        """No resource uses the server any more."""


@dataclass(eq=False)
class _Subscription:
    """A model URI, who follows it, and what they last got for it."""

    parsed: ServedUri
    keys: set[Key] = field(default_factory=set)
    current: ModelVersion | Failure | None = None
    # Runs while somebody got nothing yet, and is to be notified.
    timer: asyncio.TimerHandle | None = None
    is_overdue: bool = False  # nothing came until the timer ended


class TrackingServerPoller:
    """Polls one tracking server for its subscribers; to be used from one event loop."""

    def __init__(
        self,
        server: TrackingServer,
        on_change: Callable[[Key], None],
        observer: RegistryObserver | None = None,
    ) -> None:
        self._server = server
        self._on_change = on_change
        self._observer = observer
        self._subscriptions: dict[str, _Subscription] = {}
        self._uris: dict[str, set[str]] = {}  # by the subject of their queries
        self._results: dict[Query, Result] = {}
        self._metadata: dict[Query, Metadata] = {}  # the last results that were no failures
        self._running: dict[Query, asyncio.Task[Result]] = {}
        self._slots = asyncio.Semaphore(MAX_CONCURRENT_QUERIES)
        self._trouble: Failure | None = None  # of the server itself, whatever the query
        self._failed_polls = 0
        self._intervals = 0  # since the last poll
        self._is_polling = False

    @property
    def is_idle(self) -> bool:
        """Whether it has no subscribers."""
        return not self._subscriptions

    def resolve(self, key: Key, uri: str, parsed: ServedUri) -> ModelVersion:
        """What `uri` resolves to; `key` is subscribed to it from now on.

        Raises ResolutionError, or ResolutionPending where the server has not answered yet.
        """
        subscription = self._subscribe(key, uri, parsed)
        resolved = self._resolve(uri, parsed)
        if isinstance(resolved, Query):
            self._start(resolved)
            resolved = self._overdue(subscription)
        else:
            subscription.is_overdue = False
        _stop_timer(subscription)
        subscription.current = resolved
        if isinstance(resolved, Failure):
            is_transient = resolved.reason in TRANSIENT
            last_resolved = self._last_resolved(uri, parsed) if is_transient else None
            raise ResolutionError(resolved.reason, resolved.message, last_resolved)
        return resolved

    def unsubscribe(self, key: Key, uri: str) -> None:
        """Ends the subscription of `key` to `uri`."""
        subscription = self._subscriptions[uri]
        subscription.keys.discard(key)
        if subscription.keys:
            return
        _stop_timer(subscription)
        del self._subscriptions[uri]
        uris = self._uris[subject(subscription.parsed)]
        uris.discard(uri)
        if not uris:
            del self._uris[subject(subscription.parsed)]

    async def close(self) -> None:
        """Ends what is under way; there are no subscribers any more."""
        if self._observer:
            self._observer.registry_removed(self._server.uri)
        for task in self._running.values():
            task.cancel()
        await self._server.close()

    async def poll(self) -> None:
        """Sends each query again whose result may have changed, and notifies whom that concerns.

        To be called once per interval; a server that keeps failing is polled less often.
        """
        self._intervals += 1
        backoff = min(2 ** max(self._failed_polls - 1, 0), MAX_BACKOFF)
        if self._is_polling or self._intervals < backoff:
            return
        self._intervals = 0
        queries = self._queries_to_poll()
        if not queries:
            return
        self._is_polling = True
        try:
            await self._poll(queries)
        finally:
            self._is_polling = False

    def follows(self, model: str) -> bool:
        """Whether anybody follows a registered model of that name."""
        return model in self._uris

    async def refresh(self, model: str) -> None:
        """Polls a registered model before its time: somebody says that it has changed.

        Where the server fails, whether it answers again comes first.
        """
        if self._failed_polls:
            self._intervals = MAX_BACKOFF
            await self.poll()
            return
        uris = self._uris.get(model, ())
        queries = dict.fromkeys(
            query
            for uri in uris
            for query in self._needed(uri, self._subscriptions[uri].parsed, self._results)
        )
        await asyncio.gather(*(self._send_again(query) for query in queries))

    async def _send_again(self, query: Query) -> None:
        """Sends a query after one that is under way, which may have been answered too early."""
        if query in self._running:
            await asyncio.wait({self._running[query]})
        await self._refresh(query)

    async def _poll(self, queries: list[Query]) -> None:
        started = time.perf_counter()
        trouble = await self._first_trouble(queries)
        self._failed_polls = self._failed_polls + 1 if trouble else 0
        self._set_trouble(trouble)
        if self._observer:
            result = trouble.reason if trouble else "success"
            seconds = time.perf_counter() - started
            self._observer.registry_polled(self._server.uri, result, seconds)

    async def _first_trouble(self, queries: list[Query]) -> Failure | None:
        """Sends one, then the others, a few at a time, until the server itself fails."""
        for batch in _batches(queries):
            for result in await asyncio.gather(*(self._refresh(query) for query in batch)):
                if isinstance(result, Failure) and result.of_server:
                    return result
        return None

    def _queries_to_poll(self) -> list[Query]:
        """Those that the subscriptions need and whose result may change; others are dropped."""
        needed: dict[Query, None] = {}  # a set that keeps its order
        for uri, subscription in self._subscriptions.items():
            for results in (self._results, self._metadata):
                needed |= dict.fromkeys(self._needed(uri, subscription.parsed, results))
        self._results = {query: self._results[query] for query in needed if query in self._results}
        self._metadata = {
            query: self._metadata[query] for query in needed if query in self._metadata
        }
        return [query for query in needed if not self._is_final(query)]

    def _is_final(self, query: Query) -> bool:
        """Whether nothing else can come of a query any more."""
        result = self._results.get(query)
        if not is_immutable(query) or not isinstance(result, VersionMetadata):
            return False
        return not result.may_be_read

    def _needed(self, uri: str, parsed: ServedUri, results: Mapping[Query, Result]) -> list[Query]:
        needed: list[Query] = []

        def result_of(query: Query) -> Result | None:
            needed.append(query)
            return results.get(query)

        resolution.resolve(uri, parsed, self._server.uri, result_of)
        return needed

    async def _refresh(self, query: Query) -> Result:
        """Sends a query again, unless its result never changes and came meanwhile."""
        return self._results[query] if self._is_final(query) else await self._start(query)

    def _start(self, query: Query) -> asyncio.Task[Result]:
        """Sends a query, or joins those who have sent it already."""
        if query not in self._running:
            self._running[query] = asyncio.create_task(self._execute(query))
        return self._running[query]

    async def _execute(self, query: Query) -> Result:
        try:
            async with self._slots:
                result = await self._server.execute(
                    query, self._followed_aliases(query), self._metadata.get(query)
                )
        except Exception:
            # Whatever a server answers must end nobody's work.
            log.exception("%s: reading the result of %s failed", self._server.uri, query)
            result = Failure(
                Reason.REGISTRY_ERROR, f"Tracking server {self._server.uri} is not readable", True
            )
        finally:
            del self._running[query]
        self._store(query, result)
        return result

    def _store(self, query: Query, result: Result) -> None:
        if isinstance(result, Failure) and result.of_server:
            self._set_trouble(result)
            return
        self._results[query] = result
        if not isinstance(result, Failure):
            self._metadata[query] = result
        self._notify(self._uris.get(subject(query), ()))

    def _followed_aliases(self, query: Query) -> list[str]:
        if not isinstance(query, ModelQuery):
            return []
        uris = self._uris.get(subject(query), ())
        aliases = {followed_alias(self._subscriptions[uri].parsed) for uri in uris}
        return [alias for alias in aliases if alias is not None]

    def _set_trouble(self, trouble: Failure | None) -> None:
        if trouble and trouble != self._trouble:
            log.warning("%s", trouble.message)
        elif self._trouble and not trouble:
            log.info("Tracking server %s is reachable again", self._server.uri)
        self._trouble = trouble
        self._notify(self._subscriptions)

    def _notify(self, uris: Iterable[str]) -> None:
        """Notifies the subscribers to URIs that no longer resolve to what they got."""
        for uri in list(uris):
            subscription = self._subscriptions[uri]
            if subscription.current is None and subscription.timer is None:
                continue  # they have been notified, and did not resolve it again yet
            resolved = self._resolve(uri, subscription.parsed)
            if isinstance(resolved, Query):
                self._start(resolved)
            elif _is_news(resolved, subscription.current):
                self._report(subscription)

    def _report(self, subscription: _Subscription) -> None:
        _stop_timer(subscription)
        subscription.current = None
        for key in list(subscription.keys):
            self._on_change(key)

    def _overdue(self, subscription: _Subscription) -> Failure:
        """The failure of a server that leaves a query without an answer for too long.

        Before that it raises ResolutionPending; the subscribers are notified in any case.
        """
        if subscription.is_overdue:
            message = f"Tracking server {self._server.uri} has not answered yet"
            return Failure(Reason.REGISTRY_UNREACHABLE, message)
        subscription.current = None
        if subscription.timer is None:
            loop = asyncio.get_running_loop()
            subscription.timer = loop.call_later(RESOLVE_TIMEOUT, self._time_out, subscription)
        raise ResolutionPending

    def _time_out(self, subscription: _Subscription) -> None:
        subscription.is_overdue = True
        self._report(subscription)

    def _resolve(self, uri: str, parsed: ServedUri) -> ModelVersion | Failure | Query:
        return resolution.resolve(uri, parsed, self._server.uri, self._result_of)

    def _result_of(self, query: Query) -> Result | None:
        """Where moving names point is known until a poll fails; a version holds until refuted."""
        result = self._results.get(query)
        holds = isinstance(result, VersionMetadata)
        is_fresh = result is not None and not self._failed_polls
        return result if holds or is_fresh else self._trouble

    def _last_resolved(self, uri: str, parsed: ServedUri) -> ModelVersion | None:
        resolved = resolution.resolve(uri, parsed, self._server.uri, self._metadata.get)
        return resolved if isinstance(resolved, ModelVersion) else None

    def _subscribe(self, key: Key, uri: str, parsed: ServedUri) -> _Subscription:
        subscription = self._subscriptions.setdefault(uri, _Subscription(parsed))
        subscription.keys.add(key)
        self._uris.setdefault(subject(parsed), set()).add(uri)
        return subscription


def _is_news(resolved: ModelVersion | Failure, current: ModelVersion | Failure | None) -> bool:
    """Whether it says more than before: also of the same version, whose file was read meanwhile."""
    if isinstance(resolved, ModelVersion) and isinstance(current, ModelVersion):
        return (resolved, resolved.signature) != (current, current.signature)
    return resolved != current


def _stop_timer(subscription: _Subscription) -> None:
    if subscription.timer is not None:
        subscription.timer.cancel()
        subscription.timer = None


def _batches(queries: list[Query]) -> Iterator[list[Query]]:
    yield queries[:1]
    for start in range(1, len(queries), MAX_CONCURRENT_QUERIES):
        yield queries[start : start + MAX_CONCURRENT_QUERIES]
