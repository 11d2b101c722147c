"""Which resource may serve a host name of a Gateway: who has it, else the oldest that asks. Pure.

A gateway decides between routes that match alike by rules of its own, and says nothing of it: the
longer path wins, which lets a route take requests from another one's host name, and of two equal
routes the older one, which changes when a route is deleted and made again. So it is decided here.

- A claim stands against others for the same host name, or for one with a wildcard that covers it,
  on the same Gateway. A claim for all host names only stands against others of that kind: by the
  Gateway API, a route that names the host of a request always comes first.
- Within a namespace, routes may share a host name by different paths. Between namespaces, a path
  may not be below another one's either.
- A resource whose route has the host name keeps it: an older resource that asks for it later does
  not take it away.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import NamedTuple

from mlflow_model_operator.api.resource import Key
from mlflow_model_operator.kube import httproute
from mlflow_model_operator.kube.objects import KubeObject, is_deleting, namespace_of

_Age = tuple[str, str, str]  # creation time, namespace, name: the lower is the older
_Rank = tuple[bool, _Age]  # the lower goes first


class Claim(NamedTuple):
    """A host name, "" for all, and a path below it."""

    gateway: Key
    hostname: str
    path: str


class RouteClaims:
    """The claims of all resources."""

    def __init__(self) -> None:
        self._claims: dict[Key, frozenset[Claim]] = {}
        self._ages: dict[Key, _Age] = {}
        self._served: dict[Key, frozenset[Claim]] = {}  # by the live routes
        # By Gateway and host name: the claims, and whose they are.
        self._by_hostname: dict[Key, dict[str, dict[Key, Claim]]] = {}

    def update(self, key: Key, resource: KubeObject | None) -> set[Key]:
        """States the claims of the resource `key`; returns the others that this concerns."""
        claims = frozenset(claims_of(resource)) if resource else frozenset()
        age = _age(key, resource) if resource else None
        before = self._claims.get(key, frozenset())
        if claims == before and self._ages.get(key) == age:
            return set()
        self._remove(key)
        if claims and age:
            self._add(key, claims, age)
        return self._others(key, before | claims)

    def update_route(self, key: Key, route: KubeObject | None) -> set[Key]:
        """States what the live route of `key` serves; returns the others that this concerns."""
        served = frozenset(_served_by(route)) if route else frozenset()
        before = self._served.pop(key, frozenset())
        if served:
            self._served[key] = served
        return self._others(key, before ^ served)

    def rivals(self, key: Key) -> Mapping[str, Key]:
        """By host name that the resource `key` may not serve, the resource that it leaves it to."""
        rivals = {}
        for claim in self._claims.get(key, ()):
            rank = self._rank(key, claim)
            better = {
                rival: self._rank(rival, theirs)
                for rival, theirs in self._against(key, claim)
                if self._rank(rival, theirs) < rank
            }
            if better:
                rivals[claim.hostname] = min(better, key=lambda rival: better[rival])
        return rivals

    def _against(self, key: Key, claim: Claim) -> Iterator[tuple[Key, Claim]]:
        """The claims of others that stand against this one."""
        hostnames = self._by_hostname.get(claim.gateway, {})
        for hostname in _covering(claim.hostname):
            for rival, theirs in hostnames.get(hostname, {}).items():
                is_near = rival.namespace == key.namespace
                if rival != key and _is_in_the_way(theirs.path, claim.path, is_near):
                    yield rival, theirs

    def _others(self, key: Key, claims: Iterable[Claim]) -> set[Key]:
        """Those whose claims these may stand against."""
        return {
            other
            for claim in claims
            for hostname, keys in self._covered(claim)
            for other in keys
            if other != key
        }

    def _covered(self, claim: Claim) -> Iterable[tuple[str, Iterable[Key]]]:
        hostnames = self._by_hostname.get(claim.gateway, {})
        if not claim.hostname.startswith("*."):
            return [(claim.hostname, hostnames.get(claim.hostname, ()))]
        return [entry for entry in hostnames.items() if claim.hostname in _covering(entry[0])]

    def _rank(self, key: Key, claim: Claim) -> _Rank:
        return claim not in self._served.get(key, ()), self._ages[key]

    def _add(self, key: Key, claims: frozenset[Claim], age: _Age) -> None:
        self._claims[key], self._ages[key] = claims, age
        for claim in claims:
            hostnames = self._by_hostname.setdefault(claim.gateway, {})
            hostnames.setdefault(claim.hostname, {})[key] = claim

    def _remove(self, key: Key) -> None:
        self._ages.pop(key, None)
        for claim in self._claims.pop(key, ()):
            hostnames = self._by_hostname[claim.gateway]
            del hostnames[claim.hostname][key]
            if not hostnames[claim.hostname]:
                del hostnames[claim.hostname]
            if not hostnames:
                del self._by_hostname[claim.gateway]


def claims_of(resource: KubeObject) -> Iterator[Claim]:
    """What a resource claims, by its spec; nothing where it names no gateway."""
    routing = (resource.get("spec") or {}).get("routing") or {}
    gateway = routing.get("gateway")
    if not gateway or is_deleting(resource):
        return
    key = Key(gateway.get("namespace") or namespace_of(resource), gateway.get("name") or "")
    for hostname in routing.get("hostnames") or ("",):
        yield Claim(key, hostname.lower(), _normalized(routing.get("path") or "/"))


def _served_by(route: KubeObject) -> Iterator[Claim]:
    gateway = httproute.gateway_of(route)
    for hostname in httproute.hostnames(route):
        yield Claim(gateway, hostname.lower(), _normalized(httproute.path_of(route)))


def _covering(hostname: str) -> Iterable[str]:
    """The host name itself, and those with a wildcard that stand for it, too.

    >>> list(_covering("a.b.c"))
    ['a.b.c', '*.b.c', '*.c']
    """
    labels = hostname.split(".")
    wildcards = (".".join(["*", *labels[start:]]) for start in range(1, len(labels)))
    return dict.fromkeys([hostname, *wildcards])


def _is_in_the_way(path: str, other: str, is_near: bool) -> bool:
    """Whether two paths of one host name can't both be served, in one namespace or in two."""
    if is_near:
        return path == other
    shorter, longer = sorted((path, other), key=len)
    return longer == shorter or longer.startswith(f"{shorter.rstrip('/')}/")


def _normalized(path: str) -> str:
    return path.rstrip("/") or "/"


def _age(key: Key, resource: KubeObject) -> _Age:
    return resource["metadata"].get("creationTimestamp") or "", key.namespace, key.name
