"""The rules of the HTTPRoute: by weight, and for requests that have a header or a cookie. Pure.

The rule by weight comes first, which is where it is read back. Rules with a header go before it all
the same: the Gateway API prefers the match with more headers, and of equal ones the first.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import NamedTuple

from mlflow_model_operator.api.contract import GRPC_PORT
from mlflow_model_operator.api.match_fields import RequestMatch
from mlflow_model_operator.rollout.state import Weight

SERVICE_PORT = 80
GRPC_PATH = "/inference.GRPCInferenceService"


class Pin(NamedTuple):
    """Requests that always go to one revision: those that match any of `matches`."""

    revision: str
    matches: tuple[RequestMatch, ...]


class StickyCookie(NamedTuple):
    """The cookie that keeps users at a revision."""

    name: str
    path: str
    max_age: int  # seconds

    def assigning(self, revision: str) -> str:
        """The Set-Cookie that assigns a user to a revision."""
        return (
            f"{self.name}={revision}; Path={self.path}; Max-Age={self.max_age}; HttpOnly; "
            "SameSite=Lax"
        )


class Header(NamedTuple):
    """A match of a rule by a header, as an HTTPRoute states it."""

    type: str  # Exact or RegularExpression
    name: str
    value: str


class Backend(NamedTuple):
    """A Service, and its share of the requests of a rule."""

    service: str
    port: int
    weight: int
    set_cookie: str | None = None  # what its answers get


ANY: tuple[Header | None, ...] = (None,)  # whatever the headers


class RouteRule(NamedTuple):
    """A rule of an HTTPRoute."""

    path: str
    headers: tuple[Header | None, ...]  # any of them; None: whatever its headers
    backends: tuple[Backend, ...]
    rewrites: bool = False  # whether the path is cut off

    def only_for(self, headers: tuple[Header | None, ...], revision: str) -> RouteRule:
        """The same for requests with one of these headers, all of them to one revision."""
        return self._replace(
            headers=headers, backends=(Backend(revision, self.backends[0].port, 100),)
        )

    def assigning(self, sticky: StickyCookie) -> RouteRule:
        """The same with a cookie that keeps each user at the revision that answers."""
        backends = (
            backend._replace(set_cookie=sticky.assigning(backend.service))
            if backend.weight > 0
            else backend
            for backend in self.backends
        )
        return self._replace(backends=tuple(backends))


def route_rules(
    path: str,
    traffic: Iterable[Weight],
    pins: Iterable[Pin] = (),
    sticky: StickyCookie | None = None,
    *,
    serves_grpc: bool = False,
) -> list[RouteRule]:
    """All rules: by weight, then for the pins in their order, then by the cookie.

    The cookie is set while requests are split, and leads to a revision while that has a weight.
    Clients of gRPC keep no cookies.
    """
    shares = tuple(traffic)
    rules = [RouteRule(path, ANY, _backends(shares), path != "/")]
    if serves_grpc:
        rules.append(RouteRule(GRPC_PATH, ANY, _backends(shares, GRPC_PORT)))
    template = rules.copy()
    for pin in pins:
        headers = tuple(map(_header, pin.matches))
        rules += [rule.only_for(headers, pin.revision) for rule in template]
    if sticky is None or not _is_split(shares):
        return rules
    users = [
        template[0].only_for((cookie_header(sticky.name, share.revision),), share.revision)
        for share in shares
        if share.weight > 0
    ]
    return [rules[0].assigning(sticky), *rules[1:], *users]


def _is_split(shares: tuple[Weight, ...]) -> bool:
    return sum(share.weight > 0 for share in shares) > 1


def _backends(shares: tuple[Weight, ...], port: int = SERVICE_PORT) -> tuple[Backend, ...]:
    return tuple(Backend(share.revision, port, share.weight) for share in shares)


def _header(match: RequestMatch) -> Header:
    if match.header is not None:
        return Header("Exact", match.header.name, match.header.value)
    assert match.cookie is not None
    return cookie_header(match.cookie.name, match.cookie.value)


def cookie_header(name: str, value: str) -> Header:
    """The match of a cookie, which a browser sends beside others in one header.

    Gateways differ in whether a part of the header may match or all of it must (Envoy): so this
    matches all of it.

    >>> cookie_header("tester", "a.b").value
    '^(.*; *)?tester=a\\\\.b( *;.*)?$'
    """
    pair = f"{_escaped(name)}={_escaped(value)}"
    return Header("RegularExpression", "Cookie", f"^(.*; *)?{pair}( *;.*)?$")


def _escaped(text: str) -> str:
    """The text as part of a regular expression, escaped as all dialects have it."""
    return re.sub(r"[.+*?()|[\]{}^$\\]", r"\\\g<0>", text)
