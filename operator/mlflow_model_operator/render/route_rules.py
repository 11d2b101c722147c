"""The rules of the HTTPRoute: by weight, and for requests that have a header or a cookie. Pure.

The rule by weight comes first, which is where it is read back. Rules with a header go before it all
the same: the Gateway API prefers the match with more headers, and of equal ones the first.

Only the spec decides how many rules there are, and which is where; where they lead may change.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from mlflow_model_operator.api.contract import GRPC_PORT
from mlflow_model_operator.kube.httproute import Header
from mlflow_model_operator.rollout.matches import NOBODY, Pin, cookie_header, header_of
from mlflow_model_operator.rollout.state import Weight

SERVICE_PORT = 80
GRPC_PATH = "/inference.GRPCInferenceService"


class StickyCookie(NamedTuple):
    """The cookie that keeps users at a revision."""

    name: str
    path: str
    max_age: int  # seconds
    revisions: tuple[str | None, ...] = ()  # whose users there is a rule for; None: nobody's
    is_assigned: bool = True  # whether users stay now: not where requests follow the pods

    def assigning(self, revision: str) -> str:
        """The Set-Cookie that assigns a user to a revision."""
        return (
            f"{self.name}={revision}; Path={self.path}; Max-Age={self.max_age}; HttpOnly; "
            "SameSite=Lax"
        )


class Backend(NamedTuple):
    """A Service, and its share of the requests of a rule."""

    service: str
    port: int
    weight: int
    set_cookie: str | None = None  # what its answers get
    has_filter: bool = False  # be it one that changes nothing


ANY: tuple[Header | None, ...] = (None,)  # whatever the headers


class RouteRule(NamedTuple):
    """A rule of an HTTPRoute."""

    path: str
    headers: tuple[Header | None, ...]  # any of them; None: whatever its headers
    backends: tuple[Backend, ...]
    rewrites: bool = False  # whether the path is cut off

    def only_for(
        self, headers: tuple[Header | None, ...], revision: str | None, *, is_led: bool
    ) -> RouteRule:
        """The same for requests with one of these headers, and with the revision listed.

        All of them go to that revision where the rule `is_led` there.
        """
        rule = self._replace(headers=headers)
        if revision is None:
            return rule
        listed = list(self.backends)
        if revision not in {backend.service for backend in listed}:
            listed.append(Backend(revision, listed[0].port, 0))
        if is_led:
            listed = [
                backend._replace(weight=100 if backend.service == revision else 0)
                for backend in listed
            ]
        return rule._replace(backends=tuple(listed))

    def pinned(self, pins: Iterable[Pin]) -> list[RouteRule]:
        """One for each of these pins, in their order."""
        return [
            self.only_for(tuple(map(header_of, pin.matches)), pin.revision, is_led=pin.is_led)
            for pin in pins
        ]

    def of_users(self, sticky: StickyCookie) -> list[RouteRule]:
        """One for the users of each revision, which leads to it while it has a weight."""
        served = {backend.service for backend in self.backends if backend.weight > 0}
        return [
            self.only_for(
                (cookie_header(sticky.name, revision or NOBODY),),
                revision,
                is_led=sticky.is_assigned and revision in served,
            )
            for revision in sticky.revisions
        ]

    def assigning(self, sticky: StickyCookie) -> RouteRule:
        """The same with a cookie that keeps each user at the revision that answers.

        Only while requests are split: else all users would stay with the old revision of a rollout.
        """
        if not sticky.revisions:
            return self
        served, unserved = self._by_place(sticky.revisions)
        is_split = sticky.is_assigned and len({backend.service for backend in served}) > 1
        assigned = (
            backend._replace(
                has_filter=True, set_cookie=sticky.assigning(backend.service) if is_split else None
            )
            for backend in served
        )
        return self._replace(backends=(*assigned, *unserved))

    def _by_place(self, revisions: tuple[str | None, ...]) -> tuple[list[Backend], list[Backend]]:
        """The backends with a weight, one for each of the places at least, and those without.

        Where backends have filters, Envoy Gateway makes a cluster for each that has a weight, named
        by its index. So a place whose revision has none leads where the largest share does, with
        1 % of that; and all that changes is where a place leads.
        """
        shares = {backend.service: backend for backend in self.backends if backend.weight > 0}
        largest = max(shares.values(), key=lambda backend: backend.weight)
        free = sum(revision not in shares for revision in revisions)
        shares[largest.service] = largest._replace(weight=largest.weight - free)
        places = [shares.pop(revision, None) if revision else None for revision in revisions]
        served = [place or largest._replace(weight=1) for place in places]
        return [*served, *shares.values()], [b for b in self.backends if b.weight == 0]


def route_rules(
    path: str,
    traffic: Iterable[Weight],
    pins: Iterable[Pin] = (),
    sticky: StickyCookie | None = None,
    *,
    serves_grpc: bool = False,
) -> list[RouteRule]:
    """All rules: by weight, then for the pins in their order, then by the cookie.

    Those for gRPC come last, because they come and go: an older pod template may not serve it.
    Clients of gRPC keep no cookies.
    """
    shares, pins = tuple(traffic), tuple(pins)
    by_weight = RouteRule(path, ANY, _backends(shares), path != "/")
    rules = [by_weight, *by_weight.pinned(pins)]
    if sticky is not None:
        rules = [by_weight.assigning(sticky), *rules[1:], *by_weight.of_users(sticky)]
    if serves_grpc:
        by_weight = RouteRule(GRPC_PATH, ANY, _backends(shares, GRPC_PORT))
        rules += [by_weight, *by_weight.pinned(pins)]
    return rules


def _backends(shares: tuple[Weight, ...], port: int = SERVICE_PORT) -> tuple[Backend, ...]:
    return tuple(Backend(share.revision, port, share.weight) for share in shares)
