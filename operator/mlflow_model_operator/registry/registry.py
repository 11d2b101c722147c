"""What model URIs mean, remembered and kept fresh by one poll per tracking server.

A *lookup* is one question to a server: a registered model (whose aliases and stages may move), or
something that never changes. Resources follow the lookups that they needed last. Each interval the
followed lookups that may change, or that failed, are asked again, once each, however many resources
follow them; resources whose lookup now has another answer are told.
"""

from __future__ import annotations

import asyncio
import logging
import random
import time
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Protocol

from mlflow_model_operator.api import uri as model_uri
from mlflow_model_operator.domain import Key, ModelVersion, ResolutionError
from mlflow_model_operator.registry.server import (
    HOST_REJECTED,
    REGISTRY_ERROR,
    UNAUTHORIZED,
    UNREACHABLE,
    RegisteredModel,
    TrackingServer,
    VersionFacts,
)
from mlflow_model_operator.settings import Settings

log = logging.getLogger(__name__)

Facts = RegisteredModel | VersionFacts
Answer = Facts | ResolutionError

# The server's trouble, not the URI's: what was known before still holds.
TRANSIENT = frozenset({UNREACHABLE, UNAUTHORIZED, HOST_REJECTED, REGISTRY_ERROR})
THREADS = 4


class RegistryObserver(Protocol):
    """Told of each poll, for metrics."""

    def registry_polled(self, server: str, result: str, seconds: float) -> None:
        """`result` is "success" or the reason of the failure."""


@dataclass(frozen=True)
class Lookup:
    """One question to a tracking server; `kind` names the method of TrackingServer that asks it."""

    kind: str
    arguments: tuple[str, ...]


@dataclass
class _Followed:
    answer: Answer | None = None
    last_good: Facts | None = None
    followers: set[Key] = field(default_factory=set)
    asking: asyncio.Future[Answer] | None = None

    @property
    def may_change(self) -> bool:
        return isinstance(self.answer, RegisteredModel | ResolutionError)

    @property
    def is_in_trouble(self) -> bool:
        return isinstance(self.answer, ResolutionError) and self.answer.reason in TRANSIENT


class Registry:
    """Resolves model URIs; to be used from one event loop. Requests run in a few threads."""

    def __init__(
        self,
        settings: Settings,
        on_change: Callable[[Key], None],
        observer: RegistryObserver | None = None,
    ) -> None:
        """`on_change` is told each resource for which a followed URI may mean something else."""
        self._default_uri = settings.tracking_uri
        self._interval = settings.poll_interval
        self._on_change = on_change
        self._observer = observer
        self._servers: dict[str, TrackingServer] = {}
        self._lookups: dict[str, dict[Lookup, _Followed]] = {}
        self._wanted: dict[Key, frozenset[tuple[str | None, str]]] = {}
        self._pool = ThreadPoolExecutor(THREADS, thread_name_prefix="registry")

    async def resolve(self, key: Key, uri: str, tracking_uri: str | None) -> ModelVersion:
        """What `uri` means now, for the resource `key`, which follows it from now on.

        Raises ResolutionError with the reason, a sentence for people, and, where the trouble is
        the server's, what the URI meant before.
        """
        try:
            parsed = model_uri.parse(uri)
        except model_uri.InvalidModelUri as error:
            raise ResolutionError("InvalidUri", str(error)) from None
        if isinstance(parsed, model_uri.StorageModel):
            needs_server = parsed.scheme == "mlflow-artifacts"
            server = self._server_uri(tracking_uri, uri) if needs_server else None
            return ModelVersion(requested=uri, uri=parsed.uri, version="-", tracking_uri=server)
        server = self._server_uri(tracking_uri, uri)
        if isinstance(parsed, model_uri.LoggedModel):
            return await self._logged_model(key, uri, server, parsed)
        if isinstance(parsed, model_uri.RunModel):
            return await self._run_model(key, uri, server, parsed)
        return await self._registered(key, uri, server, parsed)

    def retain(self, key: Key, wanted: Iterable[tuple[str | None, str]]) -> None:
        """Says which (tracking URI, model URI) pairs `key` follows; it stops following others."""
        now = frozenset(wanted)
        if self._wanted.get(key) != now:
            self.forget(key)
            self._wanted[key] = now

    def forget(self, key: Key) -> None:
        """Stops following for a resource that is gone."""
        self._wanted.pop(key, None)
        for server, lookups in list(self._lookups.items()):
            for lookup, followed in list(lookups.items()):
                followed.followers.discard(key)
                if not followed.followers and followed.asking is None:
                    del lookups[lookup]
            if not lookups:
                del self._lookups[server]

    async def run(self) -> None:
        """Polls for ever; each server by itself, so that a slow one delays no other."""
        pollers: dict[str, asyncio.Task[None]] = {}
        try:
            while True:
                await asyncio.sleep(self._interval * random.uniform(0.95, 1.05))
                for server in list(self._lookups):
                    if server not in pollers or pollers[server].done():
                        pollers[server] = asyncio.create_task(self._poll(server))
        finally:
            for task in pollers.values():
                task.cancel()
            self._pool.shutdown(wait=False, cancel_futures=True)

    async def _poll(self, server: str) -> None:
        """Asks again what may have changed; of a server that is in trouble only one thing."""
        started = time.perf_counter()
        result = "success"
        for lookup, followed in list(self._lookups.get(server, {}).items()):
            if not followed.may_change or not followed.followers:
                continue
            if result == "success":
                await self._ask(server, lookup, followed)
                if followed.is_in_trouble and isinstance(followed.answer, ResolutionError):
                    result = followed.answer.reason
                    trouble = followed.answer
            else:
                self._take(followed, trouble)
        if result != "success":
            log.warning("registry: %s", trouble.message)
        if self._observer:
            self._observer.registry_polled(server, result, time.perf_counter() - started)

    async def _registered(
        self, key: Key, uri: str, server: str, parsed: model_uri.RegisteredModel
    ) -> ModelVersion:
        last_known = None
        if isinstance(parsed, model_uri.RegisteredVersion):
            version = parsed.version
        else:
            lookup = Lookup("registered_model", (parsed.name,))
            try:
                model = await self._answer(key, server, lookup)
                assert isinstance(model, RegisteredModel)
                version = meaning(parsed, model, server)
            except ResolutionError as error:
                last_known = self._last_known(uri, server, parsed, lookup)
                raise _with_last_known(error, last_known) from error
        facts = await self._answer(key, server, Lookup("version", (parsed.name, version)))
        return _registered_version(uri, server, parsed.name, version, facts)

    async def _logged_model(
        self, key: Key, uri: str, server: str, parsed: model_uri.LoggedModel
    ) -> ModelVersion:
        facts = await self._answer(key, server, Lookup("logged_model", (parsed.model_id,)))
        return ModelVersion(
            requested=uri,
            uri=f"models:/{parsed.model_id}",
            version=parsed.model_id,
            tracking_uri=server,
            python_version=_python_version(facts),
        )

    async def _run_model(
        self, key: Key, uri: str, server: str, parsed: model_uri.RunModel
    ) -> ModelVersion:
        facts = await self._answer(key, server, Lookup("run", (parsed.run_id, parsed.path)))
        return ModelVersion(
            requested=uri,
            uri=f"runs:/{parsed.run_id}/{parsed.path}",
            version=parsed.run_id,
            tracking_uri=server,
            python_version=_python_version(facts),
        )

    def _last_known(
        self, uri: str, server: str, parsed: model_uri.RegisteredModel, lookup: Lookup
    ) -> ModelVersion | None:
        followed = self._lookups.get(server, {}).get(lookup)
        if followed is None or not isinstance(followed.last_good, RegisteredModel):
            return None
        try:
            version = meaning(parsed, followed.last_good, server)
        except ResolutionError:
            return None
        known = self._lookups[server].get(Lookup("version", (parsed.name, version)))
        facts = known.last_good if known else None
        return _registered_version(uri, server, parsed.name, version, facts) if facts else None

    async def _answer(self, key: Key, server: str, lookup: Lookup) -> Facts:
        followed = self._lookups.setdefault(server, {}).setdefault(lookup, _Followed())
        followed.followers.add(key)
        if followed.answer is None:
            await self._ask(server, lookup, followed)
        answer = followed.answer
        if isinstance(answer, ResolutionError):
            raise ResolutionError(answer.reason, answer.message)
        assert answer is not None
        return answer

    async def _ask(self, server: str, lookup: Lookup, followed: _Followed) -> None:
        """Asks the server, or joins those who are asking it the same already."""
        if followed.asking is None:
            loop = asyncio.get_running_loop()
            followed.asking = loop.run_in_executor(self._pool, self._fetch, server, lookup)
        asking = followed.asking
        try:
            answer = await asyncio.shield(asking)
        finally:
            if followed.asking is asking and asking.done():
                followed.asking = None
        self._take(followed, answer)

    def _fetch(self, server: str, lookup: Lookup) -> Answer:
        """Runs in a thread."""
        try:
            answer: Facts = getattr(self._server(server), lookup.kind)(*lookup.arguments)
            return answer
        except ResolutionError as error:
            return error

    def _take(self, followed: _Followed, answer: Answer) -> None:
        before, followed.answer = followed.answer, answer
        if not isinstance(answer, ResolutionError):
            followed.last_good = answer
        if before is not None and not _same(before, answer):
            for key in list(followed.followers):
                self._on_change(key)

    def _server(self, uri: str) -> TrackingServer:
        if uri not in self._servers:
            self._servers[uri] = TrackingServer(uri, trusted=uri == self._default_uri)
        return self._servers[uri]

    def _server_uri(self, tracking_uri: str | None, uri: str) -> str:
        server = tracking_uri or self._default_uri
        if server is None:
            raise ResolutionError(
                "TrackingUriMissing",
                f"{uri} needs a tracking server: write spec.model.trackingUri, like "
                "http://mlflow.mlflow:5000, or give the operator a default (chart value "
                "trackingUri)",
            )
        return server


def meaning(parsed: model_uri.RegisteredModel, model: RegisteredModel, server: str) -> str:
    """The version that a URI means, given what the registry says of its model.

    Raises ResolutionError where the alias, the stage or any version is missing.
    """
    match parsed:
        case model_uri.RegisteredVersion(_, version):
            return version
        case model_uri.RegisteredAlias(name, alias):
            if alias not in model.aliases:
                known = ", ".join(sorted(model.aliases)) or "none"
                raise ResolutionError(
                    "AliasNotFound",
                    f"The registered model {name!r} on {server} has no alias {alias!r} (its "
                    f"aliases: {known}): set it on a version, or name another",
                )
            return model.aliases[alias]
        case model_uri.RegisteredStage(name, stage):
            if stage not in model.stages:
                raise ResolutionError(
                    "StageEmpty",
                    f"The registered model {name!r} on {server} has no version in stage {stage}: "
                    "move one there, or name a version or an alias",
                )
            return model.stages[stage]
        case model_uri.RegisteredLatest(name):
            if model.latest is None:
                raise ResolutionError(
                    "VersionNotFound",
                    f"The registered model {name!r} on {server} has no version yet: register one",
                )
            return model.latest


def _registered_version(
    uri: str, server: str, name: str, version: str, facts: Facts
) -> ModelVersion:
    return ModelVersion(
        requested=uri,
        uri=f"models:/{name}/{version}",
        version=version,
        tracking_uri=server,
        name=name,
        python_version=_python_version(facts),
    )


def _python_version(facts: Facts) -> str | None:
    return facts.python_version if isinstance(facts, VersionFacts) else None


def _with_last_known(error: ResolutionError, known: ModelVersion | None) -> ResolutionError:
    is_transient = error.reason in TRANSIENT
    return ResolutionError(error.reason, error.message, known if is_transient else None)


def _same(one: Answer, other: Answer) -> bool:
    if isinstance(one, ResolutionError) and isinstance(other, ResolutionError):
        return (one.reason, one.message) == (other.reason, other.message)
    return one == other
