"""Which tracking servers the resources of a namespace may use: the first ones, up to a limit. Pure.

Each server is polled, so a namespace must not name any number of them. The operator's own server
does not count.
"""

from __future__ import annotations

from typing import NamedTuple

from mlflow_model_operator.api.resource import Key
from mlflow_model_operator.kube.objects import KubeObject, is_deleting


class _Use(NamedTuple):
    """Since when a resource can have used a server: the lower is the older."""

    created: str
    name: str


class ServerClaims:
    """The tracking servers that resources name, by namespace."""

    def __init__(self, limit: int, own_server: str | None = None) -> None:
        self._limit = limit
        self._own_server = _normalized(own_server or "")
        self._servers: dict[Key, str] = {}
        self._uses: dict[str, dict[str, dict[Key, _Use]]] = {}  # by namespace and server

    def update(self, key: Key, resource: KubeObject | None) -> set[Key]:
        """States the server of the resource `key`; returns the others that this concerns."""
        server = self._server_of(resource)
        use = _use(key, resource) if resource else None
        if self._servers.get(key) == server and self._use(key) == use:
            return set()
        before = self._allowed(key.namespace)
        self._remove(key)
        if server is not None and use is not None:
            self._servers[key] = server
            self._uses.setdefault(key.namespace, {}).setdefault(server, {})[key] = use
        changed = before ^ self._allowed(key.namespace)
        servers = self._uses.get(key.namespace, {})
        return {other for server in changed for other in servers.get(server, ())} - {key}

    def is_excess(self, key: Key) -> bool:
        """Whether the server of the resource is one more than its namespace may use."""
        server = self._servers.get(key)
        return server is not None and server not in self._allowed(key.namespace)

    def _allowed(self, namespace: str) -> set[str]:
        servers = self._uses.get(namespace, {})
        oldest_first = sorted(servers, key=lambda server: min(servers[server].values()))
        return set(oldest_first[: self._limit])

    def _use(self, key: Key) -> _Use | None:
        server = self._servers.get(key)
        return None if server is None else self._uses[key.namespace][server][key]

    def _server_of(self, resource: KubeObject | None) -> str | None:
        if resource is None or is_deleting(resource):
            return None
        model = (resource.get("spec") or {}).get("model") or {}
        server = _normalized(model.get("trackingUri") or "")
        return None if server in ("", self._own_server) else server

    def _remove(self, key: Key) -> None:
        server = self._servers.pop(key, None)
        if server is None:
            return
        servers = self._uses[key.namespace]
        del servers[server][key]
        if not servers[server]:
            del servers[server]
        if not servers:
            del self._uses[key.namespace]


def _use(key: Key, resource: KubeObject) -> _Use:
    return _Use(resource["metadata"].get("creationTimestamp") or "", key.name)


def _normalized(tracking_uri: str) -> str:
    return tracking_uri.rstrip("/")
