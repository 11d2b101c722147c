"""Markers in the operator's own credentials: none comes out, whether requests succeed or fail.

Looked for in the resource with its status, events, objects, the log, and metrics.
"""

from __future__ import annotations

import base64
import logging
from collections.abc import Iterator

import pytest

from mlflow_model_operator.settings import PolicySettings, Settings
from tests.integration.operator.conftest import OperatorThread, World
from tests.integration.registry.front import Answer, Front, Request, Rule, asks_for
from tests.integration.tracking_server import TrackingServer

USER, PASSWORD, TOKEN = "marker-of-user", "marker-of-password", "marker-of-token"
MARKER = "marker-of-"
ENCODED = base64.b64encode(f"{USER}:{PASSWORD}".encode()).decode()
FAILURES = (
    (500, "INTERNAL_ERROR", "RegistryError"),
    (403, "PERMISSION_DENIED", "RegistryUnauthorized"),
)
KINDS = ("deployments", "services", "configmaps", "networkpolicies", "events")


@pytest.fixture
def front(mlflow_server: TrackingServer) -> Iterator[Front]:
    """Asks for credentials before the real server answers."""
    front = Front(mlflow_server.url)
    front.start()
    yield front
    front.stop()


def repeats(status: int, error_code: str) -> Rule:
    """A rule: errors that say which credentials were sent, as no server should."""

    def rule(request: Request) -> Answer:
        error = f'{{"error_code":"{error_code}","message":"not {request.authorization}"}}'
        return status, error.encode(), {"X-Sent": request.authorization or ""}

    return rule


def expects(authorization: str) -> Rule:
    """A rule: only requests with this header are let through."""
    refused = repeats(401, "UNAUTHENTICATED")
    return lambda request: None if request.authorization == authorization else refused(request)


@pytest.fixture(params=["password", "token"])
def login(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Rule:
    """The operator has credentials of this kind, which a server with this rule lets through."""
    for name in ("TOKEN", "USERNAME", "PASSWORD"):
        monkeypatch.delenv(f"MLFLOW_TRACKING_{name}", raising=False)
    if request.param == "token":
        monkeypatch.setenv("MLFLOW_TRACKING_TOKEN", TOKEN)
        return expects(f"Bearer {TOKEN}")
    monkeypatch.setenv("MLFLOW_TRACKING_USERNAME", USER)
    monkeypatch.setenv("MLFLOW_TRACKING_PASSWORD", PASSWORD)
    return asks_for(USER, PASSWORD)


def test_the_login_of_the_tracking_server_stays_inside(
    quiet_world: World,
    front: Front,
    login: Rule,
    caplog: pytest.LogCaptureFixture,
) -> None:
    world = quiet_world
    settings = Settings(
        tracking_uri=front.url,
        poll_interval=0.5,
        drain_delay=1.0,
        namespaces=(world.namespace,),
        scoring_images={"3.11": "scoring:3.11"},
        policy=PolicySettings(tracking_uris=("*",)),
    )
    front.rule = login
    caplog.set_level(logging.DEBUG, "mlflow_model_operator")
    with OperatorThread(settings, str(world.api.kubeconfig)) as thread:
        world.given_wine_is_served()
        assert any(request.authorization for request in front.requests)
        for status, code, reason in FAILURES:
            front.rule = repeats(status, code)
            world.until_condition("ModelResolved", "False", reason)
            check(world, thread, caplog)
            front.rule = login
            world.until_condition("Ready", "True", "Ready")
        check(world, thread, caplog)
    assert not secrets_in(caplog.text)


def check(world: World, thread: OperatorThread, caplog: pytest.LogCaptureFixture) -> None:
    """Nothing that anybody can read has a secret."""
    assert not secrets_in(str(world.get()))
    for kind in KINDS:
        assert not secrets_in(str(world.children(kind))), kind
    assert not secrets_in(thread.operator.metrics.exposition().decode())
    assert not secrets_in(caplog.text)


def secrets_in(text: str) -> list[str]:
    """The places of markers, encoded ones too."""
    found = (MARKER, ENCODED)
    return [text[max(0, text.find(each) - 80) :][:200] for each in found if each in text]
