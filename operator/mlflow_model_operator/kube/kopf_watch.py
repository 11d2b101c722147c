"""The watch of the resources: kopf brings the events, and the cache ingests them.

Nothing else happens in the handler, so events are cheap, and it never writes to an object: kopf
adds annotations for `create`/`update` handlers and finalizers for timers and daemons, but nothing
for `event` handlers. The children are watched by kube/reflector.py.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import asdict
from typing import Any

import kopf

from mlflow_model_operator.api import names
from mlflow_model_operator.kube import kinds
from mlflow_model_operator.kube.cache import Cache
from mlflow_model_operator.kube.client import Login


async def watch(
    cache: Cache,
    login: Callable[[], Awaitable[Login]],
    *,
    namespaces: tuple[str, ...],
    ready: asyncio.Event,
    stop: asyncio.Event,
) -> None:
    """Feeds `cache` until `stop` is set; sets `ready` when the watch begins.

    `login` is called for credentials at the start and whenever they are refused.
    """
    registry = kopf.OperatorRegistry()

    async def on_event(event: Any, **_: Any) -> None:
        cache.ingest_event(kinds.RESOURCE, event["type"], event["object"])

    kopf.on.event(names.GROUP, names.VERSION, names.PLURAL, registry=registry)(on_event)

    async def log_in(**_: Any) -> kopf.ConnectionInfo:
        return kopf.ConnectionInfo(**asdict(await login()))

    kopf.on.login(registry=registry)(log_in)
    await kopf.operator(
        registry=registry,
        settings=_settings(),
        # kopf would ask for the user's name, which a container's user need not have.
        identity=names.FIELD_MANAGER,  # type: ignore[arg-type]  # a name for str that is not public
        namespaces=namespaces,
        clusterwide=not namespaces,
        ready_flag=ready,
        stop_flag=stop,
    )


class _NoLastState(kopf.DiffBaseStorage):
    """Spares kopf the copies of each object from which it computes what has changed."""

    def build(self, **_: Any) -> Any:
        """Nothing is worth comparing."""
        return {}

    def fetch(self, **_: Any) -> None:
        """Nothing was stored."""

    def store(self, **_: Any) -> None:
        """Nothing is stored."""


class _NoProgress(kopf.ProgressStorage):
    """Event handlers make none; kopf would look for it in each object, in a copy of that."""

    def fetch(self, **_: Any) -> None:
        """Nothing was stored."""

    def store(self, **_: Any) -> None:
        """Nothing is stored."""

    def purge(self, **_: Any) -> None:
        """There is nothing."""

    def touch(self, **_: Any) -> None:
        """Objects are never written to."""

    def clear(self, *, essence: Any) -> Any:
        """There is nothing."""
        return essence


def _settings() -> kopf.OperatorSettings:
    settings = kopf.OperatorSettings()
    settings.persistence.diffbase_storage = _NoLastState()
    settings.persistence.progress_storage = _NoProgress()
    # We are the only one: the leader lease says so, and kopf's peering would need its own CRD.
    settings.peering.standalone = True
    # The kinds are fixed; watching for new CRDs and namespaces would need cluster-wide rights.
    settings.scanning.disabled = True
    settings.posting.enabled = False
    settings.watching.chunk_size = 200
    settings.watching.server_timeout = 600
    settings.watching.client_timeout = 660
    # kopf starts a worker per object; with thousands of objects they must be few and short-lived.
    settings.queueing.worker_limit = 100
    settings.queueing.idle_timeout = 0.05
    return settings
