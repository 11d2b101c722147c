"""What model URIs resolve to, for all resources, and who is notified when that changes."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Iterable

from mlflow_model_operator.api import uri as model_uri
from mlflow_model_operator.api.model_version import ModelVersion, ResolutionError
from mlflow_model_operator.api.reasons import Reason
from mlflow_model_operator.api.resource import Key
from mlflow_model_operator.registry.hints import Hint, Hints
from mlflow_model_operator.registry.http import (
    ForeignServerClient,
    OwnServerClient,
    load_mlflow,
)
from mlflow_model_operator.registry.poller import RegistryObserver, TrackingServerPoller
from mlflow_model_operator.registry.tracking_server import TrackingServer
from mlflow_model_operator.settings import Settings

Pair = tuple[str, str]  # a tracking server's URI, and a model URI

# How far polls stray from the interval, so that several operators don't meet at one server.
JITTER = 0.05


class Registry:
    """Resolves model URIs; to be used from one event loop."""

    def __init__(
        self,
        settings: Settings,
        on_change: Callable[[Key], None],
        observer: RegistryObserver | None = None,
    ) -> None:
        """`on_change` is called with each resource for which a URI resolves to something else now.

        `observer` gets each poll.
        """
        self._default_uri = _normalized(settings.tracking_uri) if settings.tracking_uri else None
        self._interval = settings.poll_interval
        self._on_change = on_change
        self._observer = observer
        self._pollers: dict[str, TrackingServerPoller] = {}
        self._subscriptions: dict[Key, set[Pair]] = {}
        self._loading: asyncio.Task[None] | None = None
        self._hints = Hints(settings.max_hinted_polls)

    async def resolve(self, key: Key, uri: str, tracking_uri: str | None) -> ModelVersion:
        """What `uri` resolves to for the resource `key`, which is subscribed to it from now on.

        Answers from what the last poll brought, and waits for no server: ResolutionPending is
        raised where one has not answered yet. Raises ResolutionError with the reason, a sentence
        for people, and, where the trouble is the server's, what the URI resolved to before.
        """
        try:
            parsed = model_uri.parse(uri)
        except model_uri.InvalidModelUri as error:
            raise ResolutionError(Reason.INVALID_URI, str(error)) from None
        if isinstance(parsed, model_uri.StorageModel):
            needs_server = parsed.scheme == "mlflow-artifacts"
            server = self._server_uri(tracking_uri, uri) if needs_server else None
            return ModelVersion(requested=uri, uri=parsed.uri, version="-", tracking_uri=server)
        server = self._server_uri(tracking_uri, uri)
        if server == self._default_uri:
            await self._load_mlflow()
        self._subscriptions.setdefault(key, set()).add((server, uri))
        return self._poller(server).resolve(key, uri, parsed)

    def unsubscribe(self, key: Key, except_for: Iterable[tuple[str | None, str]] = ()) -> None:
        """Ends the subscriptions of `key`, except for these (tracking URI, model URI) pairs."""
        pairs = {
            (_normalized(tracking_uri or self._default_uri or ""), uri)
            for tracking_uri, uri in except_for
        }
        subscriptions = self._subscriptions.pop(key, set())
        for server, uri in subscriptions - pairs:
            self._pollers[server].unsubscribe(key, uri)
        if subscriptions & pairs:
            self._subscriptions[key] = subscriptions & pairs

    def hint(self, model: str) -> None:
        """Has a registered model polled soon, on each server where a resource follows it."""
        for uri, poller in self._pollers.items():
            if poller.follows(model):
                self._hints.add(Hint(uri, model))

    async def run(self) -> None:
        """Polls until it is cancelled; each server by itself: a slow one delays no other."""
        if self._default_uri:  # it will be needed, and the first resource is not to wait for it
            await self._load_mlflow()
        try:
            async with asyncio.TaskGroup() as polls:
                polls.create_task(self._follow_hints(polls))
                while True:
                    await asyncio.sleep(self._interval * random.uniform(1 - JITTER, 1 + JITTER))
                    await self._close(uri for uri, it in self._pollers.items() if it.is_idle)
                    for poller in self._pollers.values():
                        polls.create_task(poller.poll())
        finally:
            await self._close(self._pollers)

    async def _follow_hints(self, polls: asyncio.TaskGroup) -> None:
        while True:
            polls.create_task(self._refresh(await self._hints.next()))

    async def _refresh(self, hint: Hint) -> None:
        try:
            if poller := self._pollers.get(hint.server):
                await poller.refresh(hint.model)
        finally:
            self._hints.done(hint)

    async def _close(self, uris: Iterable[str]) -> None:
        for poller in [self._pollers.pop(uri) for uri in list(uris)]:
            await poller.close()

    async def _load_mlflow(self) -> None:
        """Imports MLflow's client once, before the time that a server may take is counted."""
        if self._loading is None:
            self._loading = asyncio.create_task(asyncio.to_thread(load_mlflow))
        await asyncio.shield(self._loading)

    def _poller(self, uri: str) -> TrackingServerPoller:
        if uri not in self._pollers:
            is_own = uri == self._default_uri
            client = OwnServerClient(uri) if is_own else ForeignServerClient(uri)
            server = TrackingServer(client)
            self._pollers[uri] = TrackingServerPoller(server, self._on_change, self._observer)
        return self._pollers[uri]

    def _server_uri(self, tracking_uri: str | None, uri: str) -> str:
        server = tracking_uri or self._default_uri
        if server is None:
            raise ResolutionError(
                Reason.TRACKING_URI_MISSING,
                f"{uri} needs a tracking server: set spec.model.trackingUri, like "
                "http://mlflow.mlflow:5000, or the chart value trackingUri",
            )
        return _normalized(server)


def _normalized(tracking_uri: str) -> str:
    """A trailing slash names no other server."""
    return tracking_uri.rstrip("/")
