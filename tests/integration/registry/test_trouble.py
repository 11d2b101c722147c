"""A registry in trouble: what is said, what is remembered, and who is not held up by it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path

import pytest

from mlflow_model_operator.api.model_version import ResolutionError, ResolutionPending
from mlflow_model_operator.api.resource import Key
from mlflow_model_operator.registry import poller
from tests.certificates import self_signed
from tests.integration.registry.conftest import KEY, Follow, Wine
from tests.integration.registry.front import Answer, Front, Request, answers, asks_for
from tests.integration.tracking_server import TrackingServer

OTHER = Key("default", "other")
CHAMPION = "models:/wine@champion"

NewModel = Callable[[], str]


async def test_a_server_that_stops_and_starts_again(
    follow: Follow, front: Front, wine: Wine
) -> None:
    following = follow(front.url)
    before = await following.resolve(CHAMPION)
    await following.resolve("models:/wine/2", key=OTHER)

    front.stop()
    await following.until_notified(KEY)
    error = await following.failure(CHAMPION)
    assert error.reason == "RegistryUnreachable"
    assert error.message.startswith(f"Tracking server {front.url} is unreachable: connection ")
    assert error.last_resolved == before
    assert (await following.resolve("models:/wine/2", key=OTHER)).version == "2"

    front.start()
    await following.until_polled(1)
    await following.until_notified(KEY)
    assert await following.resolve(CHAMPION) == before
    assert following.notified[OTHER] == 0


async def test_an_alias_that_moved_while_the_server_was_away(
    follow: Follow, front: Front, mlflow_server: TrackingServer, new_model: NewModel
) -> None:
    name = new_model()
    uri = f"models:/{name}@champion"
    following = follow(front.url)
    await following.resolve(uri)
    front.stop()
    await following.until_notified(KEY)
    assert (await following.failure(uri)).reason == "RegistryUnreachable"
    mlflow_server.point(name, "champion", "2")
    front.start()
    await following.until_notified(KEY)
    assert (await following.resolve(uri)).version == "2"


async def test_trouble_is_reported_once_and_not_at_each_poll(
    follow: Follow, front: Front, wine: Wine
) -> None:
    following = follow(front.url)
    await following.resolve(CHAMPION)
    front.stop()
    # The first requests may meet kept connections that are closed, the next ones a closed port.
    await following.until_polled(2, "RegistryUnreachable")
    await following.failure(CHAMPION)
    following.notified.clear()
    await following.until_polled(3, "RegistryUnreachable")
    assert not any(following.notified.values())


async def test_a_server_that_is_not_there_at_first(
    follow: Follow, front: Front, wine: Wine
) -> None:
    front.stop()
    following = follow(front.url)
    error = await following.failure(CHAMPION)
    assert (error.reason, error.last_resolved) == ("RegistryUnreachable", None)
    front.start()
    await following.until_notified(KEY)
    assert (await following.resolve(CHAMPION)).version == "1"


async def test_an_unknown_host_is_named(follow: Follow) -> None:
    error = await follow("http://mlflow.invalid:5000").failure(CHAMPION)
    assert error.reason == "RegistryUnreachable"
    assert "http://mlflow.invalid:5000" in error.message
    assert "host name not found" in error.message


async def test_while_a_server_is_in_trouble_it_gets_a_single_query_per_poll(
    follow: Follow, front: Front, wine: Wine, new_model: NewModel
) -> None:
    following = follow(front.url)
    front.rule = answers(503)
    assert (await following.failure(CHAMPION)).reason == "RegistryError"
    requests = len(front.requests)
    following.registry.unsubscribe(KEY)
    for number in range(50):
        with pytest.raises(ResolutionError):
            await following.resolve_also(f"models:/model-{number}@champion")
    polls = following.polls[front.url, "RegistryError"]
    assert len(front.requests) <= requests + polls + 1

    requests, polls = len(front.requests), following.polls[front.url, "RegistryError"]
    await following.until_polled(3, "RegistryError")
    polls = following.polls[front.url, "RegistryError"] - polls
    assert len(front.requests) <= requests + polls + 1


async def test_a_silent_server_holds_up_nobody(
    follow: Follow, front: Front, wine: Wine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(poller, "RESOLVE_TIMEOUT", 0.5)
    following = follow(wine.client.tracking_uri)
    front.rule = front.hang
    silent = {Key("silent", f"{n}"): f"models:/m{n}/1" for n in range(20)}
    for key, uri in silent.items():
        with pytest.raises(ResolutionPending):
            await following.registry.resolve(key, uri, front.url)
    assert (await following.resolve(CHAMPION)).version == "1"
    assert not any(following.notified[key] for key in silent)
    await following.until_notified(*silent)
    for key, uri in silent.items():
        with pytest.raises(ResolutionError) as failure:
            await following.registry.resolve(key, uri, front.url)
        assert failure.value.reason == "RegistryUnreachable"
    assert (await following.resolve("models:/wine/2")).version == "2"

    front.rule = lambda _: None
    front.let_go.set()
    await following.until_notified(Key("silent", "0"))
    assert (await following.failure("models:/m0/1", front.url)).reason == "VersionNotFound"


async def test_a_late_answer_is_reported(
    follow: Follow, front: Front, wine: Wine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(poller, "RESOLVE_TIMEOUT", 0.2)
    front.rule = front.hang
    following = follow(front.url)
    assert "has not answered yet" in (await following.failure("models:/wine/1")).message
    front.let_go.set()
    await following.until_notified(KEY)
    monkeypatch.undo()
    assert (await following.resolve("models:/wine/1")).version == "1"


async def test_a_server_that_nobody_uses_any_more_is_closed(
    follow: Follow, front: Front, wine: Wine
) -> None:
    following = follow(wine.client.tracking_uri)
    await following.resolve(CHAMPION, front.url)
    following.registry.unsubscribe(KEY)
    await following.until("the end of its polls", lambda: following.removed == {front.url})
    assert (await following.resolve(CHAMPION, front.url)).version == "1"


async def test_a_host_name_that_the_server_does_not_accept(
    follow: Follow, front: Front, wine: Wine
) -> None:
    front.host = "mlflow.mlflow:5000"
    following = follow(front.url)
    error = await following.failure(CHAMPION)
    assert error.reason == "RegistryHostRejected"
    assert "MLFLOW_SERVER_ALLOWED_HOSTS" in error.message

    front.host = None
    await following.until_notified(KEY)
    assert (await following.resolve(CHAMPION)).version == "1"


async def test_credentials_are_for_the_operators_own_server_only(
    follow: Follow,
    front: Front,
    new_front: Callable[..., Front],
    wine: Wine,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    front.rule = asks_for("operator", "secret")
    monkeypatch.setenv("MLFLOW_TRACKING_USERNAME", "operator")
    monkeypatch.setenv("MLFLOW_TRACKING_PASSWORD", "secret")
    assert (await follow(front.url).resolve(CHAMPION)).version == "1"
    assert all(request.authorization for request in front.requests)

    other = new_front()
    other.rule = front.rule
    error = await follow(front.url).failure(CHAMPION, other.url)
    assert error.reason == "RegistryUnauthorized"
    assert "trackingUri" in error.message
    assert not any(request.authorization for request in other.requests)


async def test_a_token_too(
    follow: Follow,
    front: Front,
    new_front: Callable[..., Front],
    wine: Wine,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    other = new_front()
    monkeypatch.setenv("MLFLOW_TRACKING_TOKEN", "t0ken")
    following = follow(front.url)
    await following.resolve(CHAMPION)
    await following.resolve(CHAMPION, other.url, key=OTHER)
    assert {request.authorization for request in front.requests} == {"Bearer t0ken"}
    assert {request.authorization for request in other.requests} == {None}


async def test_wrong_credentials_and_then_right_ones(
    follow: Follow, front: Front, wine: Wine, monkeypatch: pytest.MonkeyPatch
) -> None:
    front.rule = asks_for("operator", "secret")
    monkeypatch.setenv("MLFLOW_TRACKING_USERNAME", "operator")
    monkeypatch.setenv("MLFLOW_TRACKING_PASSWORD", "wrong")
    following = follow(front.url)
    error = await following.failure(CHAMPION)
    assert error.reason == "RegistryUnauthorized"
    assert "trackingCredentialsSecret" in error.message
    assert "wrong" not in error.message

    monkeypatch.setenv("MLFLOW_TRACKING_PASSWORD", "secret")
    await following.until_notified(KEY)
    assert (await following.resolve(CHAMPION)).version == "1"


async def test_a_model_that_the_operator_may_not_read_leaves_others_alone(
    follow: Follow, front: Front, wine: Wine, new_model: NewModel
) -> None:
    private = new_model()

    def rule(request: Request) -> Answer | None:
        return (403, b"Permission denied", {}) if request.query["name"] == [private] else None

    front.rule = rule
    following = follow(front.url)
    error = await following.failure(f"models:/{private}@champion")
    assert error.reason == "RegistryUnauthorized"
    assert private in error.message
    await following.resolve(CHAMPION, key=OTHER)
    await following.until_polled(2)
    assert (await following.resolve(CHAMPION, key=OTHER)).version == "1"
    assert following.notified[OTHER] == 0


@pytest.mark.parametrize(
    ("rule", "words"),
    [
        (
            answers(500, b'{"error_code": "INTERNAL_ERROR", "message": "no database"}'),
            "no database",
        ),
        (answers(500, b"<html>secret</html>"), "answered 500 without an error message"),
        (answers(502), "answered 502"),
        (answers(404, b"<html>"), "not an MLflow server"),
        (answers(200, b"<html>Log in</html>"), "did not answer like an MLflow server"),
        (answers(200, b"[]"), "did not answer like an MLflow server"),
        (
            answers(200, b'{"registered_model": {"aliases": 1}}'),
            "did not answer like an MLflow server",
        ),
        (answers(200, b" " * 6_000_000), "with more than 256 KiB"),
    ],
)
async def test_an_answer_that_is_no_answer(
    follow: Follow, front: Front, rule: Callable[[Request], Answer | None], words: str
) -> None:
    front.rule = rule
    error = await follow(front.url).failure(CHAMPION)
    assert error.reason == "RegistryError"
    assert words in error.message
    assert "secret" not in error.message


async def test_a_server_that_a_resource_names_cannot_send_the_operator_elsewhere(
    follow: Follow, front: Front, new_front: Callable[..., Front]
) -> None:
    inner = new_front()
    path = "/api/2.0/mlflow/registered-models/get?name=wine"
    front.rule = answers(302, headers={"Location": f"{inner.url}{path}"})
    error = await follow(None).failure(CHAMPION, front.url)
    assert error.reason == "RegistryError"
    assert "redirects" in error.message
    assert inner.requests == []


async def test_files_that_cannot_be_read_leave_only_the_python_version_unknown(
    follow: Follow, front: Front, wine: Wine
) -> None:
    front.rule = lambda request: (500, b"", {}) if "artifact" in request.path else None
    resolved = await follow(front.url).resolve(CHAMPION)
    assert (resolved.version, resolved.python_version) == ("1", None)


async def test_a_retry_after_header_is_not_obeyed(follow: Follow, front: Front) -> None:
    front.rule = answers(503, headers={"Retry-After": "3600"})
    error = await asyncio.wait_for(follow(front.url).failure(CHAMPION), timeout=30)
    assert "503" in error.message


async def test_a_private_ca_is_for_the_operators_own_server(
    follow: Follow,
    new_front: Callable[..., Front],
    wine: Wine,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    front = new_front(tls=self_signed(tmp_path / "tls.pem"))
    error = await follow(front.url).failure(CHAMPION)
    assert error.reason == "RegistryUnreachable"
    assert "TLS handshake failed (self-signed certificate)" in error.message

    monkeypatch.setenv("MLFLOW_TRACKING_SERVER_CERT_PATH", str(tmp_path / "tls.pem"))
    assert (await follow(front.url).resolve(CHAMPION)).version == "1"
    other = await follow(None).failure(CHAMPION, front.url)
    assert "TLS handshake failed" in other.message
