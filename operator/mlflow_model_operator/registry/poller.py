"""One tracking server as all resources share it: each lookup is asked once, and polled once.

Resources follow model URIs. The lookups that those need are derived from them anew at each poll, so
nothing has to be counted and nothing is left behind.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Protocol

from mlflow_model_operator.api.model_version import ModelVersion, ResolutionError
from mlflow_model_operator.api.reasons import Reason
from mlflow_model_operator.api.resource import Key
from mlflow_model_operator.registry.resolution import (
    Failure,
    Metadata,
    Query,
    Result,
    ServedUri,
    VersionMetadata,
    meaning,
    subject,
)
from mlflow_model_operator.registry.tracking_server import TRANSIENT, TrackingServer

log = logging.getLogger(__name__)

# Each server has threads of its own, so that one that hangs holds up no other.
THREADS = 4
# How long resolving waits for a first answer; a later one is told by `on_change`.
PATIENCE = 5.0  # seconds
# A server that goes on failing is polled at every so-manieth interval.
MOST_BACKOFF = 2


class RegistryObserver(Protocol):
    """Told of each poll, for metrics."""

    def registry_polled(self, server: str, result: str, seconds: float) -> None:
        """`result` is "success" or the reason of the failure."""


@dataclass
class _Followed:
    """A model URI that resources follow, and what they were told of it last."""

    parsed: ServedUri
    keys: set[Key] = field(default_factory=set)
    told: ModelVersion | Failure | None = None


class TrackingServerPoller:
    """What is known of one tracking server; to be used from one event loop."""

    def __init__(
        self,
        server: TrackingServer,
        on_change: Callable[[Key], None],
        observer: RegistryObserver | None = None,
    ) -> None:
        self._server = server
        self._on_change = on_change
        self._observer = observer
        self._followed: dict[str, _Followed] = {}
        self._uris: dict[str, set[str]] = {}  # the followed URIs by the subject of their lookups
        self._answers: dict[Query, Result] = {}
        self._facts: dict[Query, Metadata] = {}  # the last answers that were no failures
        self._asking: dict[Query, asyncio.Task[Result]] = {}
        self._trouble: Failure | None = None  # of the server itself, whatever is asked
        self._failed_polls = 0
        self._intervals = 0  # since the last poll
        self._polling = False
        self._threads = ThreadPoolExecutor(THREADS, thread_name_prefix="registry")

    @property
    def is_idle(self) -> bool:
        """Whether nobody follows anything on it."""
        return not self._followed

    async def resolve(self, key: Key, uri: str, parsed: ServedUri) -> ModelVersion:
        """What `uri` means; `key` follows it from now on. Raises ResolutionError."""
        followed = self._follow(key, uri, parsed)
        while True:
            found = self._meaning(uri, parsed)
            if isinstance(found, ModelVersion | Failure):
                break
            try:
                await asyncio.wait_for(self._ask(found), PATIENCE)
            except TimeoutError:
                what = f"Tracking server {self._server.uri} has not answered yet"
                found = Failure(Reason.REGISTRY_UNREACHABLE, what)
                break
        followed.told = found
        if isinstance(found, Failure):
            is_passing = found.reason in TRANSIENT
            last_known = self._last_known(uri, parsed) if is_passing else None
            raise ResolutionError(found.reason, found.message, last_known)
        return found

    def unsubscribe(self, key: Key, uri: str) -> None:
        """`key` no longer follows `uri`."""
        followed = self._followed[uri]
        followed.keys.discard(key)
        if not followed.keys:
            del self._followed[uri]
            uris = self._uris[subject(followed.parsed)]
            uris.discard(uri)
            if not uris:
                del self._uris[subject(followed.parsed)]

    async def poll(self) -> None:
        """Asks again, once each, what may have changed, and tells those whom it concerns.

        To be called once per interval; of a server that goes on failing it skips some.
        """
        self._intervals += 1
        backoff = min(2 ** max(self._failed_polls - 1, 0), MOST_BACKOFF)
        if self._polling or self._intervals < backoff:
            return
        self._intervals = 0
        lookups = self._lookups_to_poll()
        if not lookups:
            return
        self._polling = True
        try:
            await self._poll(lookups)
        finally:
            self._polling = False

    async def _poll(self, lookups: list[Query]) -> None:
        started = time.perf_counter()
        trouble = await self._first_trouble(lookups)
        self._failed_polls = self._failed_polls + 1 if trouble else 0
        self._set_trouble(trouble)
        if self._observer:
            result = trouble.reason if trouble else "success"
            seconds = time.perf_counter() - started
            self._observer.registry_polled(self._server.uri, result, seconds)

    async def _first_trouble(self, lookups: list[Query]) -> Failure | None:
        """Asks one, then the others, a few at a time, until the server itself fails."""
        for some in _one_then_several(lookups):
            for answer in await asyncio.gather(*(self._ask(lookup) for lookup in some)):
                if isinstance(answer, Failure) and answer.of_server:
                    return answer
        return None

    def _lookups_to_poll(self) -> list[Query]:
        """The lookups that followed URIs need and that may change; others are forgotten."""
        needed: dict[Query, None] = {}  # a set that keeps its order
        for uri, followed in self._followed.items():
            for answers in (self._answers, self._facts):
                needed |= dict.fromkeys(self._needed(uri, followed.parsed, answers))
        self._answers = {one: answer for one, answer in self._answers.items() if one in needed}
        self._facts = {one: facts for one, facts in self._facts.items() if one in needed}
        return [one for one in needed if not isinstance(self._answers.get(one), VersionMetadata)]

    def _needed(self, uri: str, parsed: ServedUri, answers: Mapping[Query, Result]) -> list[Query]:
        needed: list[Query] = []

        def known(lookup: Query) -> Result | None:
            needed.append(lookup)
            return answers.get(lookup)

        meaning(uri, parsed, self._server.uri, known)
        return needed

    async def _ask(self, lookup: Query) -> Result:
        """Asks the server, unless that is known for ever; joins those who are asking already."""
        known = self._answers.get(lookup)
        if isinstance(known, VersionMetadata):
            return known
        if lookup not in self._asking:
            self._asking[lookup] = asyncio.create_task(self._fetch(lookup))
        return await asyncio.shield(self._asking[lookup])

    async def _fetch(self, lookup: Query) -> Result:
        loop = asyncio.get_running_loop()
        try:
            answer = await loop.run_in_executor(self._threads, self._server.ask, lookup)
        finally:
            del self._asking[lookup]
        if isinstance(answer, Failure) and answer.of_server:
            self._set_trouble(answer)
            return answer
        self._answers[lookup] = answer
        if not isinstance(answer, Failure):
            self._facts[lookup] = answer
        self._tell(self._uris.get(subject(lookup), ()))
        return answer

    def _set_trouble(self, trouble: Failure | None) -> None:
        if trouble and trouble != self._trouble:
            log.warning("%s", trouble.message)
        elif self._trouble and not trouble:
            log.info("Tracking server %s is reachable again", self._server.uri)
        self._trouble = trouble
        self._tell(self._followed)

    def _tell(self, uris: Iterable[str]) -> None:
        """Tells the followers of the URIs that no longer mean what they were told."""
        for uri in list(uris):
            followed = self._followed[uri]
            if followed.told in (None, self._meaning(uri, followed.parsed)):
                continue
            followed.told = None
            for key in list(followed.keys):
                self._on_change(key)

    def _meaning(self, uri: str, parsed: ServedUri) -> ModelVersion | Failure | Query:
        return meaning(uri, parsed, self._server.uri, self._known)

    def _known(self, lookup: Query) -> Result | None:
        """What may change is known until a poll fails."""
        answer = self._answers.get(lookup)
        never_changes = isinstance(answer, VersionMetadata)
        is_fresh = answer is not None and not self._failed_polls
        return answer if never_changes or is_fresh else self._trouble

    def _last_known(self, uri: str, parsed: ServedUri) -> ModelVersion | None:
        found = meaning(uri, parsed, self._server.uri, self._facts.get)
        return found if isinstance(found, ModelVersion) else None

    def _follow(self, key: Key, uri: str, parsed: ServedUri) -> _Followed:
        followed = self._followed.setdefault(uri, _Followed(parsed))
        followed.keys.add(key)
        self._uris.setdefault(subject(parsed), set()).add(uri)
        return followed


def _one_then_several(lookups: list[Query]) -> Iterator[list[Query]]:
    yield lookups[:1]
    for start in range(1, len(lookups), THREADS):
        yield lookups[start : start + THREADS]
