"""How many tracking servers a namespace may use, and which ones."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from mlflow_model_operator.api.resource import Key
from mlflow_model_operator.kube.server_claims import ServerClaims

Json = dict[str, Any]


def resource(created: int, server: str | None) -> Json:
    model = {"uri": "models:/a/1", **({"trackingUri": server} if server else {})}
    return {
        "metadata": {"creationTimestamp": f"2026-01-01T00:{created:02}:00Z"},
        "spec": {"model": model},
    }


def key(number: int, namespace: str = "team") -> Key:
    return Key(namespace, f"model-{number:02}")


def test_the_servers_of_the_oldest_resources_count_first() -> None:
    claims = ServerClaims(limit=2)
    for number in (3, 1, 2):
        claims.update(key(number), resource(number, f"http://server-{number}"))
    assert [claims.is_excess(key(number)) for number in (1, 2, 3)] == [False, False, True]


def test_resources_share_a_server() -> None:
    claims = ServerClaims(limit=1)
    for number in range(20):
        claims.update(
            key(number), resource(number, "http://server/" if number % 2 else "http://server")
        )
    assert not any(claims.is_excess(key(number)) for number in range(20))


def test_the_operators_own_server_does_not_count() -> None:
    claims = ServerClaims(limit=0, own_server="http://mlflow/")
    claims.update(key(1), resource(1, None))
    claims.update(key(2), resource(2, "http://mlflow"))
    claims.update(key(3), resource(3, "http://other"))
    assert [claims.is_excess(key(number)) for number in (1, 2, 3)] == [False, False, True]


def test_namespaces_do_not_count_for_each_other() -> None:
    claims = ServerClaims(limit=1)
    for namespace in ("a", "b", "c"):
        claims.update(key(1, namespace), resource(1, f"http://{namespace}"))
        assert not claims.is_excess(key(1, namespace))


def test_others_are_notified_when_a_server_is_given_up() -> None:
    claims = ServerClaims(limit=1)
    assert claims.update(key(1), resource(1, "http://first")) == set()
    assert claims.update(key(2), resource(2, "http://second")) == set()
    assert claims.update(key(3), resource(3, "http://second")) == set()
    assert claims.update(key(1), resource(1, "http://second")) == {key(2), key(3)}
    assert not any(claims.is_excess(key(number)) for number in (1, 2, 3))
    assert claims.update(key(1), None) == set()
    assert claims.update(key(2), None) == set()
    assert claims.update(key(3), None) == set()


STEPS = st.lists(
    st.tuples(st.integers(0, 5), st.integers(0, 9), st.sampled_from([None, *"stuv"])), max_size=40
)


@given(STEPS, st.integers(0, 3))
def test_never_more_servers_than_the_limit_and_everybody_affected_is_notified(
    steps: list[tuple[int, int, str | None]], limit: int
) -> None:
    claims = ServerClaims(limit)
    servers: dict[Key, str] = {}
    excess: dict[Key, bool] = {}
    for number, created, server in steps:
        changed = key(number)
        notified = claims.update(changed, resource(created, server))
        servers = {k: s for k, s in servers.items() if k != changed}
        if server:
            servers[changed] = server
        now = {k: claims.is_excess(k) for k in servers}
        used = {servers[k] for k, is_excess in now.items() if not is_excess}
        assert len(used) <= limit
        # A server is used by all or by none.
        assert not used & {servers[k] for k, is_excess in now.items() if is_excess}
        differs = {k for k in now if k in excess and excess[k] != now[k]} - {changed}
        assert differs <= notified
        excess = now
