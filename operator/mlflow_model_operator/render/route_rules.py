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


class RouteRule(NamedTuple):
    """A rule of an HTTPRoute."""

    path: str
    headers: tuple[Header | None, ...]  # any of them; None: whatever its headers
    backends: tuple[Backend, ...]
    rewrites: bool = False  # whether the path is cut off


def route_rules(
    path: str, traffic: Iterable[Weight], pins: Iterable[Pin], *, serves_grpc: bool
) -> list[RouteRule]:
    """All rules: by weight, then for the pins in their order."""
    everything: tuple[Header | None, ...] = (None,)
    rules = _of_all_ports(path, everything, tuple(traffic), serves_grpc)
    for pin in pins:
        headers = tuple(map(_header, pin.matches))
        rules += _of_all_ports(path, headers, (Weight(pin.revision, 100),), serves_grpc)
    return rules


def _of_all_ports(
    path: str, headers: tuple[Header | None, ...], shares: tuple[Weight, ...], serves_grpc: bool
) -> list[RouteRule]:
    """The rule for HTTP, and the one for gRPC."""
    rules = [RouteRule(path, headers, _backends(shares, SERVICE_PORT), rewrites=path != "/")]
    if serves_grpc:
        rules.append(RouteRule(GRPC_PATH, headers, _backends(shares, GRPC_PORT)))
    return rules


def _backends(shares: tuple[Weight, ...], port: int) -> tuple[Backend, ...]:
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
