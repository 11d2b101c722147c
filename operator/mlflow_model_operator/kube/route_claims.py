"""Which resource may serve a host name of a Gateway: the oldest that asks for it. Pure.

Where two routes match alike, a gateway follows the older one and says nothing of it to the other.
Which one that is changes when a route is deleted and made again, so it is decided here instead, by
the age of the resources.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import NamedTuple

from mlflow_model_operator.api.resource import Key
from mlflow_model_operator.kube.objects import KubeObject, is_deleting, namespace_of

_Age = tuple[str, str, str]  # creation time, namespace, name: the lower is the older


class Claim(NamedTuple):
    """A host name, "" for all, and a path below it."""

    gateway: Key
    hostname: str
    path: str


class RouteClaims:
    """The claims of all resources."""

    def __init__(self) -> None:
        self._claims: dict[Key, frozenset[Claim]] = {}
        self._ages: dict[Claim, dict[Key, _Age]] = {}

    def update(self, key: Key, resource: KubeObject | None) -> set[Key]:
        """States the claims of the resource `key`; returns the others that this concerns."""
        claims = frozenset(claims_of(resource)) if resource else frozenset()
        age = _age(key, resource) if resource else None
        before = self._claims.get(key, frozenset())
        is_same_age = all(self._ages[claim][key] == age for claim in before)
        if claims == before and is_same_age:
            return set()
        affected = self._others(key, before)
        self._remove(key, before)
        if claims and age:
            self._claims[key] = claims
            for claim in claims:
                self._ages.setdefault(claim, {})[key] = age
        return affected | self._others(key, claims)

    def rivals(self, key: Key) -> Mapping[str, Key]:
        """By host name that the resource `key` claims, the older resource that has it."""
        rivals = {}
        for claim in self._claims.get(key, ()):
            ages = self._ages[claim]
            oldest = min(ages, key=lambda rival: ages[rival])
            if oldest != key:
                rivals[claim.hostname] = oldest
        return rivals

    def _others(self, key: Key, claims: Iterable[Claim]) -> set[Key]:
        return {other for claim in claims for other in self._ages.get(claim, ())} - {key}

    def _remove(self, key: Key, claims: Iterable[Claim]) -> None:
        self._claims.pop(key, None)
        for claim in claims:
            ages = self._ages[claim]
            del ages[key]
            if not ages:
                del self._ages[claim]


def claims_of(resource: KubeObject) -> Iterator[Claim]:
    """What a resource claims, by its spec; nothing where it names no gateway."""
    routing = (resource.get("spec") or {}).get("routing") or {}
    gateway = routing.get("gateway")
    if not gateway or is_deleting(resource):
        return
    key = Key(gateway.get("namespace") or namespace_of(resource), gateway.get("name") or "")
    path = (routing.get("path") or "/").rstrip("/") or "/"
    for hostname in routing.get("hostnames") or ("",):
        yield Claim(key, hostname.lower(), path)


def _age(key: Key, resource: KubeObject) -> _Age:
    return resource["metadata"].get("creationTimestamp") or "", key.namespace, key.name
