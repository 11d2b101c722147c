"""What moves in the registry is reported to those whom it concerns, by one poll for all."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from uuid import uuid4

import pytest
from mlflow import MlflowClient
from mlflow.models import ModelSignature
from mlflow.types.schema import ColSpec, DataType, Schema

from mlflow_model_operator.api.resource import Key
from tests.integration.registry.conftest import KEY, Follow, Following, Wine, move_to_stage
from tests.integration.registry.front import Front
from tests.integration.tracking_server import TrackingServer

GET_MODEL = "registered-models/get"
OTHER = Key("default", "other")

NewModel = Callable[[], str]


async def test_a_moved_alias_is_reported_and_resolves_to_the_new_version(
    following: Following, mlflow_server: TrackingServer, new_model: NewModel
) -> None:
    name = new_model()
    uri = f"models:/{name}@champion"
    assert (await following.resolve(uri)).version == "1"

    mlflow_server.point(name, "champion", "2")

    await following.until_notified(KEY)
    assert (await following.resolve(uri)).uri == f"models:/{name}/2"


async def test_subscribers_to_another_alias_of_the_model_are_not_notified(
    following: Following, mlflow_server: TrackingServer, new_model: NewModel
) -> None:
    name = new_model()
    mlflow_server.point(name, "old", "1")
    await following.resolve(f"models:/{name}@champion")
    await following.resolve(f"models:/{name}@old", key=OTHER)

    mlflow_server.point(name, "champion", "2")

    await following.until_notified(KEY)
    await following.until_polled()
    assert following.notified[OTHER] == 0


async def test_nobody_is_notified_while_nothing_changes(
    following: Following, new_model: NewModel
) -> None:
    await following.resolve(f"models:/{new_model()}@champion")
    await following.failure(f"models:/{new_model()}@nobody")
    await following.until_polled(3)
    assert not any(following.notified.values())


async def test_an_alias_that_is_deleted_and_set_again(
    following: Following, mlflow_server: TrackingServer, new_model: NewModel
) -> None:
    name = new_model()
    uri = f"models:/{name}@champion"
    await following.resolve(uri)

    mlflow_server.drop_alias(name, "champion")
    await following.until_notified(KEY)
    assert (await following.failure(uri)).reason == "AliasNotFound"

    mlflow_server.point(name, "champion", "1")
    await following.until_notified(KEY)
    assert (await following.resolve(uri)).version == "1"


async def test_an_alias_of_a_deleted_version(
    following: Following, mlflow_server: TrackingServer, new_model: NewModel
) -> None:
    name = new_model()
    uri = f"models:/{name}@champion"
    await following.resolve(uri)

    MlflowClient(mlflow_server.url).delete_model_version(name, "1")

    await following.until_notified(KEY)
    error = await following.failure(uri)
    assert error.reason == "AliasNotFound"
    assert error.last_resolved is None


async def test_a_stage_and_the_latest_version_are_followed_too(
    following: Following, mlflow_server: TrackingServer, new_model: NewModel
) -> None:
    name = new_model()
    move_to_stage(mlflow_server, name, "1", "Production")
    assert (await following.resolve(f"models:/{name}/Production")).version == "1"
    assert (await following.resolve(f"models:/{name}/latest", key=OTHER)).version == "2"

    move_to_stage(mlflow_server, name, "2", "Production")
    await following.until_notified(KEY)
    assert (await following.resolve(f"models:/{name}/Production")).version == "2"

    MlflowClient(mlflow_server.url).create_model_version(name, "s3://models/none")
    await following.until_notified(OTHER)
    assert (await following.resolve(f"models:/{name}/latest", key=OTHER)).version == "3"


async def test_a_model_that_is_registered_later_is_found(
    following: Following, mlflow_server: TrackingServer
) -> None:
    uri = "models:/late/1"
    assert (await following.failure(uri)).reason == "VersionNotFound"
    mlflow_server.register("late")
    await following.until_notified(KEY)
    assert (await following.resolve(uri)).version == "1"


async def test_however_many_resources_their_first_use_is_one_request(
    follow: Follow, front: Front, new_model: NewModel
) -> None:
    following = follow(front.url, interval=3600)
    uri = f"models:/{new_model()}@champion"
    keys = [Key("default", f"wine-{number}") for number in range(1000)]
    for _ in range(2):
        await asyncio.gather(*(following.resolve(uri, key=key) for key in keys))
        assert front.counts() == {
            GET_MODEL: 1,
            "model-versions/get": 1,
            "model-versions/get-artifact": 1,
        }


@pytest.fixture
def new_model_with_files(mlflow_server: TrackingServer) -> NewModel:
    """The same as new_model, whose versions have the MLmodel file."""

    def register() -> str:
        name, column = f"model-{uuid4().hex}", ColSpec(DataType.double, "price")
        signature = ModelSignature(Schema([column]), Schema([column]))
        mlflow_server.register_with_signature(name, signature, signature)
        mlflow_server.point(name, "champion", "1")
        return name

    return register


async def test_however_many_resources_a_poll_is_one_request(
    follow: Follow, front: Front, mlflow_server: TrackingServer, new_model_with_files: NewModel
) -> None:
    name = new_model_with_files()
    following = follow(front.url)
    uri = f"models:/{name}@champion"
    keys = [Key("default", f"wine-{number}") for number in range(200)]
    await asyncio.gather(*(following.resolve(uri, key=key) for key in keys))

    await following.until_polled(5)
    polls = sum(following.polls.values())
    # The first use may coincide with a poll, and one more poll may be under way.
    assert 5 <= front.counts()[GET_MODEL] <= 2 + polls

    mlflow_server.point(name, "champion", "2")
    await following.until_notified(*keys)
    versions = await asyncio.gather(*(following.resolve(uri, key=key) for key in keys))
    assert {version.version for version in versions} == {"2"}
    # So are those of the two versions, whose files are read once each.
    polls = sum(following.polls.values())
    assert 5 <= front.counts()["model-versions/get"] <= 3 + polls
    assert front.counts()["model-versions/get-artifact"] == 2


async def test_what_never_changes_is_queried_once(
    follow: Follow, front: Front, wine: Wine, new_model: NewModel
) -> None:
    fixed = wine.model_id
    following = follow(front.url)
    await following.resolve(f"models:/{fixed}")
    await following.resolve(f"models:/{new_model()}@champion", key=OTHER)

    await following.until_polled(3)

    assert len([request for request in front.requests if fixed in request.path]) == 2


async def test_files_that_cannot_be_read_are_tried_again_less_and_less_often(
    follow: Follow, front: Front, new_model: NewModel
) -> None:
    fixed = new_model()
    following = follow(front.url)
    await following.resolve(f"models:/{fixed}/2")

    await following.until_polled(6)

    endpoints = [request.endpoint for request in front.requests]
    polls, reads = endpoints.count("model-versions/get"), 0
    while 1 << reads < polls:
        reads += 1
    # At first, and at the 1st, 2nd, 4th poll and so on; the last one may be under way.
    assert endpoints.count("model-versions/get-artifact") in (reads, reads + 1)


async def test_the_files_of_a_version_are_read_once(
    follow: Follow, front: Front, new_model_with_files: NewModel
) -> None:
    fixed = new_model_with_files()
    following = follow(front.url)
    await following.resolve(f"models:/{fixed}/2")

    await following.until_polled(3)

    endpoints = [request.endpoint for request in front.requests]
    assert endpoints.count("model-versions/get-artifact") == 1
    assert endpoints.count("model-versions/get") >= 3


async def test_what_nobody_follows_any_more_is_not_queried(
    follow: Follow, front: Front, new_model: NewModel
) -> None:
    before, after = new_model(), new_model()
    following = follow(front.url)
    await following.resolve(f"models:/{before}@champion")
    await following.resolve(f"models:/{after}@champion")  # the same key: it follows this one now
    await following.until_polled(2)
    requests = len(front.requests)

    await following.until_polled(3)

    assert {tuple(request.query["name"]) for request in front.requests[requests:]} == {(after,)}


async def test_a_resource_that_is_gone_is_forgotten(
    follow: Follow, front: Front, mlflow_server: TrackingServer, new_model: NewModel
) -> None:
    name = new_model()
    following = follow(front.url)
    await following.resolve(f"models:/{name}@champion")
    await following.resolve(f"models:/{name}@champion", key=OTHER)

    following.registry.unsubscribe(KEY)
    mlflow_server.point(name, "champion", "2")

    await following.until_notified(OTHER)
    assert following.notified[KEY] == 0


async def test_a_resource_may_follow_two_uris(
    following: Following, mlflow_server: TrackingServer, new_model: NewModel
) -> None:
    stable, canary = f"models:/{new_model()}@champion", f"models:/{new_model()}@champion"
    registry = following.registry
    registry.unsubscribe(KEY, except_for={(None, stable), (None, canary)})
    await following.resolve_also(stable)
    await following.resolve_also(canary)

    for uri in (stable, canary):
        name = uri.removeprefix("models:/").removesuffix("@champion")
        mlflow_server.point(name, "champion", "2")
        await following.until_notified(KEY)
        assert (await following.resolve_also(uri)).version == "2"
