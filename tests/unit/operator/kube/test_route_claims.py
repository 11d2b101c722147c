"""Who gets a host name of a Gateway, and that nobody takes it away."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlflow_model_operator.api.resource import Key
from mlflow_model_operator.kube.route_claims import RouteClaims

Json = dict[str, Any]

GATEWAY = {"name": "shared", "namespace": "gateways"}
BANK, MALLORY, OTHER = Key("bank", "bank"), Key("mallory", "thief"), Key("bank", "other")


def resource(created: int, *hostnames: str, path: str = "/") -> Json:
    return {
        "metadata": {"namespace": "x", "creationTimestamp": f"2026-01-01T00:00:{created:02}Z"},
        "spec": {"routing": {"gateway": GATEWAY, "hostnames": list(hostnames), "path": path}},
    }


def route(*hostnames: str, path: str = "/") -> Json:
    return {
        "metadata": {"namespace": "x"},
        "spec": {
            "parentRefs": [GATEWAY],
            "hostnames": list(hostnames),
            "rules": [{"matches": [{"path": {"type": "PathPrefix", "value": path}}]}],
        },
    }


@pytest.mark.parametrize(
    ("theirs", "mine", "is_refused"),
    [
        (("a.example.com", "/"), ("a.example.com", "/"), True),
        # The longer path would win at the gateway.
        (("a.example.com", "/"), ("a.example.com", "/invocations"), True),
        (("a.example.com", "/wine"), ("a.example.com", "/"), True),
        (("a.example.com", "/wine"), ("a.example.com", "/wine/red"), True),
        (("a.example.com", "/wine"), ("a.example.com", "/wine-red"), False),
        (("a.example.com", "/wine"), ("a.example.com", "/beer"), False),
        (("a.example.com", "/"), ("b.example.com", "/"), False),
        # So would the exact name.
        (("*.example.com", "/"), ("a.example.com", "/"), True),
        (("*.example.com", "/"), ("x.a.example.com", "/"), True),
        (("*.example.com", "/"), ("*.a.example.com", "/"), True),
        # Takes nothing from the other one.
        (("a.example.com", "/"), ("*.example.com", "/"), False),
        (("", "/"), ("a.example.com", "/"), False),
        (("a.example.com", "/"), ("", "/"), False),
        (("", "/"), ("", "/"), True),
        (("", "/"), ("", "/invocations"), True),
    ],
)
def test_a_host_name_of_another_namespace_is_not_taken(
    theirs: tuple[str, str], mine: tuple[str, str], is_refused: bool
) -> None:
    claims = RouteClaims()
    claims.update(BANK, resource(1, *filter(None, theirs[:1]), path=theirs[1]))
    claims.update(MALLORY, resource(2, *filter(None, mine[:1]), path=mine[1]))
    assert claims.rivals(MALLORY) == ({mine[0]: BANK} if is_refused else {})
    assert claims.rivals(BANK) == {}


def test_within_a_namespace_paths_may_be_below_each_other() -> None:
    claims = RouteClaims()
    claims.update(BANK, resource(1, "a.example.com"))
    claims.update(OTHER, resource(2, "a.example.com", path="/other"))
    assert claims.rivals(OTHER) == {}
    claims.update(OTHER, resource(2, "a.example.com", path="/"))
    assert claims.rivals(OTHER) == {"a.example.com": BANK}


def test_an_older_resource_does_not_take_what_a_route_serves() -> None:
    claims = RouteClaims()
    claims.update(MALLORY, resource(1, "harmless.example.com"))
    claims.update(BANK, resource(2, "bank.example.com"))
    claims.update_route(BANK, route("bank.example.com"))

    claims.update(MALLORY, resource(1, "bank.example.com", path="/invocations"))

    assert claims.rivals(MALLORY) == {"bank.example.com": BANK}
    assert claims.rivals(BANK) == {}


def test_a_route_that_is_gone_for_a_moment_gives_nothing_away() -> None:
    claims = RouteClaims()
    claims.update(BANK, resource(1, "bank.example.com"))
    claims.update(MALLORY, resource(2, "bank.example.com"))
    claims.update_route(BANK, route("bank.example.com"))
    claims.update_route(BANK, None)
    assert claims.rivals(BANK) == {}
    assert claims.rivals(MALLORY) == {"bank.example.com": BANK}


def test_others_are_notified_when_a_host_name_is_free() -> None:
    claims = RouteClaims()
    claims.update(BANK, resource(1, "*.example.com"))
    claims.update_route(BANK, route("*.example.com"))
    assert claims.update(MALLORY, resource(2, "a.example.com")) == set()
    assert claims.rivals(MALLORY) == {"a.example.com": BANK}

    # What the route serves is no claim: the spec no longer asks for it.
    assert claims.update(BANK, resource(1, "other.example.com")) == {MALLORY}
    assert claims.rivals(MALLORY) == {}
    assert claims.update(BANK, None) == set()


def test_other_gateways_are_other_names() -> None:
    claims = RouteClaims()
    claims.update(BANK, resource(1, "a.example.com"))
    elsewhere = resource(2, "a.example.com")
    elsewhere["spec"]["routing"]["gateway"] = {"name": "shared", "namespace": "other"}
    claims.update(MALLORY, elsewhere)
    assert claims.rivals(MALLORY) == {}


def test_who_is_deleted_claims_nothing() -> None:
    claims = RouteClaims()
    ending = resource(1, "a.example.com")
    ending["metadata"]["deletionTimestamp"] = "2026-01-01T00:01:00Z"
    claims.update(BANK, ending)
    claims.update(MALLORY, resource(2, "a.example.com"))
    assert claims.rivals(MALLORY) == {}


HOSTNAMES = st.sampled_from(["", "a.x", "b.x", "*.x", "c.a.x", "*.a.x"])
PATHS = st.sampled_from(["/", "/p", "/p/q", "/r"])
KEYS = st.sampled_from([Key(namespace, name) for namespace in "uvw" for name in "mn"])
CLAIMED = st.tuples(st.lists(HOSTNAMES, unique=True, max_size=3), PATHS)
STEPS = st.lists(
    st.tuples(KEYS, st.sampled_from(["spec", "serve", "delete"]), CLAIMED), max_size=30
)


def covers(wide: str, narrow: str) -> bool:
    return wide == narrow or (wide.startswith("*.") and narrow.endswith(wide[1:]))


def collide(a: tuple[Key, str, str], b: tuple[Key, str, str]) -> bool:
    """Whether the gateway would send one of them requests for a host name of the other one."""
    (key_a, host_a, path_a), (key_b, host_b, path_b) = a, b
    if not (covers(host_a, host_b) or covers(host_b, host_a)) or "" in (host_a, host_b):
        return False
    if key_a.namespace == key_b.namespace:
        return host_a == host_b and path_a == path_b
    is_below = (path_a + "/").replace("//", "/").startswith((path_b + "/").replace("//", "/"))
    is_above = (path_b + "/").replace("//", "/").startswith((path_a + "/").replace("//", "/"))
    # A wildcard of the one that came later takes nothing.
    return host_a == host_b and (is_below or is_above)


@given(STEPS)
def test_no_two_serve_the_same_and_who_serves_keeps_it(
    steps: list[tuple[Key, str, tuple[list[str], str]]],
) -> None:
    claims = RouteClaims()
    specs: dict[Key, tuple[list[str], str]] = {}
    served: dict[Key, tuple[list[str], str]] = {}

    for number, (key, action, (hostnames, path)) in enumerate(steps):
        if action == "spec":
            specs[key] = (hostnames, path)
            age = sorted(specs).index(key) if key not in served else number
            claims.update(key, resource(min(age, 59), *filter(None, hostnames), path=path))
        elif action == "delete":
            specs.pop(key, None)
            served.pop(key, None)
            claims.update(key, None)
            claims.update_route(key, None)
        elif key in specs:  # what the operator does: the route states what no rival has
            names, path = specs[key]
            names = list(filter(None, names)) or [""]
            left = [name for name in names if name not in claims.rivals(key)]
            served.pop(key, None)
            claims.update_route(key, route(*filter(None, left), path=path) if left else None)
            if left:
                served[key] = (left, path)
        everything = [
            (owner, name, path) for owner, (names, path) in served.items() for name in names
        ]
        current = [
            entry
            for entry in everything
            if entry[0] in specs
            and entry[1] in (specs[entry[0]][0] or [""])
            and entry[2] == specs[entry[0]][1]
        ]
        for entry in current:
            for other in current:
                assert entry is other or not collide(entry, other), (entry, other)
