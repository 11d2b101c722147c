"""Resolving without waiting: what is pending is reported when it is known, or overdue."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable

import pytest

from mlflow_model_operator.api import uri as model_uri
from mlflow_model_operator.api.model_version import (
    ModelVersion,
    ResolutionError,
    ResolutionPending,
)
from mlflow_model_operator.api.reasons import Reason
from mlflow_model_operator.api.resource import Key
from mlflow_model_operator.api.signature import Signature
from mlflow_model_operator.registry import poller as poller_module
from mlflow_model_operator.registry.poller import TrackingServerPoller
from mlflow_model_operator.registry.resolution import (
    Failure,
    Metadata,
    ModelQuery,
    Query,
    RegisteredModelMetadata,
    Result,
    VersionMetadata,
    VersionQuery,
)

KEY, OTHER = Key("models", "wine"), Key("models", "beer")
URI = "models:/wine@champion"
AWAY = Failure(Reason.REGISTRY_UNREACHABLE, "nobody there", of_server=True)


class Server:
    """A tracking server that answers when the test lets it."""

    uri = "http://mlflow:5000"

    def __init__(self) -> None:
        self.aliases = {"champion": "1", "old": "1"}
        self.queries: list[Query] = []
        self.trouble: Failure | Exception | None = None
        self.answers = asyncio.Event()
        self.answers.set()
        self.versions: dict[str, VersionMetadata] = {}  # others are all alike
        self.silent_for: Query | None = None  # alone, if there is one, while it does not answer
        self.is_closed = False

    async def execute(
        self, query: Query, aliases: Iterable[str] = (), previous: Metadata | None = None
    ) -> Result:
        self.queries.append(query)
        if self.silent_for in (None, query):
            await self.answers.wait()
        if isinstance(self.trouble, Exception):
            raise self.trouble
        if self.trouble:
            return self.trouble
        if isinstance(query, ModelQuery):
            return RegisteredModelMetadata({name: self.aliases.get(name) for name in aliases})
        if isinstance(query, VersionQuery) and query.version in self.versions:
            return self.versions[query.version]
        return VersionMetadata("3.11.7")

    async def close(self) -> None:
        self.is_closed = True


class Subscribers:
    """Resolve like reconciles, and count their notifications."""

    def __init__(self, server: Server) -> None:
        self.notified: list[Key] = []
        self.poller = TrackingServerPoller(server, self.notified.append)  # type: ignore[arg-type]

    def resolve(self, key: Key = KEY, uri: str = URI) -> ModelVersion:
        parsed = model_uri.parse(uri)
        assert not isinstance(parsed, model_uri.StorageModel)
        return self.poller.resolve(key, uri, parsed)

    async def resolved(self) -> ModelVersion:
        """Resolves again at each notification, as reconciling does."""
        while True:
            try:
                return self.resolve()
            except ResolutionPending:
                await self.until_notified()

    async def notifications(self) -> list[Key]:
        """Those of the last moments."""
        for _ in range(10):
            await asyncio.sleep(0)
        notified = self.notified.copy()
        self.notified.clear()
        return notified

    async def until_notified(self, key: Key = KEY) -> None:
        async with asyncio.timeout(10):
            while key not in self.notified:
                await asyncio.sleep(0)
        self.notified.clear()


@pytest.fixture
async def server() -> Server:
    return Server()


@pytest.fixture
async def subscribers(server: Server) -> AsyncIterator[Subscribers]:
    subscribers = Subscribers(server)
    yield subscribers
    await subscribers.poller.close()


async def test_a_signature_that_is_read_at_a_later_poll_is_reported(
    server: Server, subscribers: Subscribers
) -> None:
    server.versions["1"] = VersionMetadata("3.11.7", unread_polls=1)
    assert (await subscribers.resolved()).signature is None
    server.versions["1"] = VersionMetadata("3.11.7", signature=Signature())
    await subscribers.poller.poll()
    assert await subscribers.notifications() == [KEY]
    assert subscribers.resolve().signature == Signature()
    await subscribers.poller.poll()
    assert await subscribers.notifications() == []


async def test_nothing_is_awaited_and_the_result_is_reported_once(
    server: Server, subscribers: Subscribers
) -> None:
    for key in (KEY, OTHER):
        with pytest.raises(ResolutionPending):
            subscribers.resolve(key)
    assert sorted(await subscribers.notifications()) == [OTHER, KEY]
    assert subscribers.resolve().version == "1"
    assert len(server.queries) == 2  # the model's alias, and the version that it points to
    await subscribers.poller.poll()
    assert await subscribers.notifications() == []


async def test_a_silent_server_is_unreachable_after_a_while_and_its_late_answer_is_reported(
    server: Server, subscribers: Subscribers, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(poller_module, "RESOLVE_TIMEOUT", 0.01)
    server.answers.clear()
    with pytest.raises(ResolutionPending):
        subscribers.resolve()
    await subscribers.until_notified()
    for _ in range(2):
        with pytest.raises(ResolutionError, match="has not answered yet") as failure:
            subscribers.resolve()
        assert failure.value.reason == Reason.REGISTRY_UNREACHABLE
    server.answers.set()
    await subscribers.until_notified()
    assert subscribers.resolve().version == "1"


async def test_an_alias_that_moves_is_reported_when_its_version_is_known(
    server: Server, subscribers: Subscribers
) -> None:
    with pytest.raises(ResolutionPending):
        subscribers.resolve()
    await subscribers.until_notified()
    subscribers.resolve()
    server.aliases["champion"] = "2"
    await subscribers.poller.poll()
    assert await subscribers.notifications() == [KEY]
    assert subscribers.resolve().version == "2"


async def test_who_asks_while_an_alias_moves_to_and_fro_is_notified(
    server: Server, subscribers: Subscribers
) -> None:
    with pytest.raises(ResolutionPending):
        subscribers.resolve()
    await subscribers.until_notified()
    subscribers.resolve()
    server.answers.clear()
    server.silent_for = VersionQuery("wine", "2")
    server.aliases["champion"] = "2"
    await subscribers.poller.poll()
    with pytest.raises(ResolutionPending):  # version 2 is being asked for
        subscribers.resolve()
    server.aliases["champion"] = "1"
    poll = asyncio.create_task(subscribers.poller.poll())
    server.answers.set()
    await subscribers.until_notified()
    await poll
    assert (await subscribers.resolved()).version == "1"


async def test_a_version_that_is_registered_again_is_reported(
    server: Server, subscribers: Subscribers
) -> None:
    server.versions["1"] = VersionMetadata("3.11.7", created=1_000)
    first = await subscribers.resolved()
    assert first.created == 1_000
    await subscribers.poller.poll()
    assert await subscribers.notifications() == []
    server.versions["1"] = VersionMetadata("3.11.7", created=2_000)
    await subscribers.poller.poll()
    assert await subscribers.notifications() == [KEY]
    again = subscribers.resolve()
    assert (again.uri, again.created) == (first.uri, 2_000)
    assert not again.is_same(first)


async def test_a_version_whose_tags_change_is_reported_and_is_still_the_same(
    server: Server, subscribers: Subscribers
) -> None:
    server.versions["1"] = VersionMetadata("3.11.7", created=1_000)
    first = await subscribers.resolved()
    tags = (("validation_status", "approved"),)
    server.versions["1"] = VersionMetadata("3.11.7", created=1_000, tags=tags)
    await subscribers.poller.poll()
    assert await subscribers.notifications() == [KEY]
    again = subscribers.resolve()
    assert (first.tags, again.tags) == ((), tags)
    assert again.is_same(first)


async def test_a_version_that_is_deleted_is_reported(
    server: Server, subscribers: Subscribers, monkeypatch: pytest.MonkeyPatch
) -> None:
    await subscribers.resolved()
    missing = Failure(Reason.VERSION_NOT_FOUND, "has no version 1")
    monkeypatch.setattr(server, "versions", {"1": missing})
    await subscribers.poller.poll()
    assert await subscribers.notifications() == [KEY]
    with pytest.raises(ResolutionError) as failure:
        subscribers.resolve()
    assert failure.value.reason == Reason.VERSION_NOT_FOUND


async def test_a_version_holds_while_the_server_is_away(
    server: Server, subscribers: Subscribers
) -> None:
    uri = "models:/wine/1"
    with pytest.raises(ResolutionPending):
        subscribers.resolve(KEY, uri)
    await subscribers.until_notified()
    server.trouble = AWAY
    await subscribers.poller.poll()
    assert subscribers.resolve(KEY, uri).version == "1"


async def test_a_further_alias_of_a_model_is_asked_for(
    server: Server, subscribers: Subscribers
) -> None:
    with pytest.raises(ResolutionPending):
        subscribers.resolve()
    await subscribers.until_notified()
    subscribers.resolve()
    with pytest.raises(ResolutionPending):
        subscribers.resolve(OTHER, "models:/wine@old")
    assert await subscribers.notifications() == [OTHER]
    assert subscribers.resolve(OTHER, "models:/wine@old").version == "1"
    # Who does not follow it any more leaves nothing behind.
    subscribers.poller.unsubscribe(OTHER, "models:/wine@old")
    await subscribers.poller.poll()
    model = subscribers.poller._results[ModelQuery("wine")]
    assert isinstance(model, RegisteredModelMetadata)
    assert set(model.aliases) == {"champion"}


@pytest.mark.parametrize("error", [AWAY, RuntimeError("a bug of ours")])
async def test_trouble_is_reported_and_passes(
    server: Server, subscribers: Subscribers, error: Failure | Exception
) -> None:
    server.trouble = error
    with pytest.raises(ResolutionPending):
        subscribers.resolve()
    await subscribers.until_notified()
    with pytest.raises(ResolutionError):
        subscribers.resolve()
    server.trouble = None
    for _ in range(2):
        await subscribers.poller.poll()
    await subscribers.until_notified()
    assert subscribers.resolve().version == "1"


@pytest.mark.parametrize("before", [True, False])
async def test_who_unsubscribes_is_not_notified(
    server: Server,
    subscribers: Subscribers,
    monkeypatch: pytest.MonkeyPatch,
    before: bool,
) -> None:
    monkeypatch.setattr(poller_module, "RESOLVE_TIMEOUT", 0.0)
    server.answers.clear()
    with pytest.raises(ResolutionPending):
        subscribers.resolve()
    if before:
        await subscribers.until_notified()
    subscribers.poller.unsubscribe(KEY, URI)
    server.answers.set()
    assert await subscribers.notifications() == []
    assert subscribers.poller.is_idle


async def test_no_more_than_a_few_queries_run_at_once(
    server: Server, subscribers: Subscribers
) -> None:
    server.answers.clear()
    for number in range(50):
        with pytest.raises(ResolutionPending):
            subscribers.resolve(KEY, f"models:/wine/{number}")
    await subscribers.notifications()
    assert len(server.queries) == poller_module.MAX_CONCURRENT_QUERIES


async def test_closing_ends_what_is_under_way(server: Server, subscribers: Subscribers) -> None:
    server.answers.clear()
    with pytest.raises(ResolutionPending):
        subscribers.resolve()
    await subscribers.notifications()
    subscribers.poller.unsubscribe(KEY, URI)
    await subscribers.poller.close()
    await subscribers.notifications()
    assert (server.is_closed, subscribers.poller._running) == (True, {})


async def test_a_hint_polls_its_model_alone(server: Server, subscribers: Subscribers) -> None:
    await subscribers.resolved()
    with pytest.raises(ResolutionPending):
        subscribers.resolve(OTHER, "models:/beer@champion")
    await subscribers.until_notified(OTHER)
    subscribers.resolve(OTHER, "models:/beer@champion")
    server.queries.clear()
    server.aliases["champion"] = "2"

    await subscribers.poller.refresh("wine")

    await subscribers.until_notified()
    assert (await subscribers.resolved()).version == "2"
    assert {query.name for query in server.queries} == {"wine"}  # type: ignore[union-attr]
    assert subscribers.poller.follows("wine") and not subscribers.poller.follows("water")


async def test_a_hint_is_not_answered_by_what_was_asked_before_it(
    server: Server, subscribers: Subscribers
) -> None:
    await subscribers.resolved()
    server.queries.clear()
    server.silent_for = ModelQuery("wine")
    server.answers.clear()
    poll = asyncio.create_task(subscribers.poller.poll())
    await subscribers.notifications()

    hint = asyncio.create_task(subscribers.poller.refresh("wine"))
    await subscribers.notifications()
    assert server.queries.count(ModelQuery("wine")) == 1, "one at a time"
    server.answers.set()
    await asyncio.gather(poll, hint)

    assert server.queries.count(ModelQuery("wine")) == 2


async def test_a_hint_for_a_server_that_fails_finds_out_whether_it_is_back(
    server: Server, subscribers: Subscribers
) -> None:
    await subscribers.resolved()
    server.trouble = AWAY
    for _ in range(5):
        await subscribers.poller.poll()
    server.trouble = None
    server.aliases["champion"] = "2"

    await subscribers.poller.refresh("wine")

    assert (await subscribers.resolved()).version == "2"


async def test_a_hint_for_what_nobody_follows_asks_nothing(
    server: Server, subscribers: Subscribers
) -> None:
    await subscribers.resolved()
    server.queries.clear()

    await subscribers.poller.refresh("water")

    assert server.queries == []
