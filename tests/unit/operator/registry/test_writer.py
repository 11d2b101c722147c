"""Writing into the registry: read first, written once, and never in anybody's way."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

import pytest

from mlflow_model_operator.api.reasons import Reason
from mlflow_model_operator.api.registry_writes import AliasChange, VersionNote, Writes
from mlflow_model_operator.api.resource import Key
from mlflow_model_operator.registry import writer as writer_module
from mlflow_model_operator.registry.http import Response, Unreachable
from mlflow_model_operator.registry.writer import RegistryWriter

KEY = Key("team-a", "wine")
TAG = "mlflow-model-operator.dev/team-a/wine"
NOTE = VersionNote("wine", "2", "Promoted", "2026-11-28T07:00:00Z")
CHANGE = AliasChange("wine", "champion", "2", "2026-11-28T07:00:00Z")


class Server:
    """The operator's own tracking server."""

    uri = "http://mlflow"

    def __init__(self) -> None:
        self.tags: dict[str, dict[str, str]] = {"1": {}, "2": {}}
        self.aliases: dict[str, str] = {}
        self.posts: list[str] = []
        self.gets = 0
        self.trouble: Response | Exception | None = None
        self.is_read_only = False
        self.is_closed = False

    async def get(self, path: str, query: dict[str, str], first: int | None = None) -> Response:
        self.gets += 1
        if isinstance(self.trouble, Exception):
            raise self.trouble
        if self.trouble is not None:
            return self.trouble
        if path.endswith("/model-versions/get"):
            tags = self.tags.get(query["version"])
            if tags is None:
                return _error(404, "RESOURCE_DOES_NOT_EXIST")
            listed = [{"key": key, "value": value} for key, value in tags.items()]
            return _ok({"model_version": {"version": query["version"], "tags": listed}})
        version = self.aliases.get(query["alias"])
        if version is None:
            return _error(400, "INVALID_PARAMETER_VALUE")
        return _ok({"model_version": {"version": version}})

    async def post(self, path: str, body: dict[str, str]) -> Response:
        self.posts.append(path.rpartition("/")[2])
        if self.is_read_only:
            return 403, b"Permission denied"
        if path.endswith("/set-tag"):
            self.tags[body["version"]][body["key"]] = body["value"]
        else:
            self.aliases[body["alias"]] = body["version"]
        return _ok({})

    async def close(self) -> None:
        self.is_closed = True


def _ok(fields: dict[str, Any]) -> Response:
    return 200, json.dumps(fields).encode()


def _error(status: int, code: str) -> Response:
    return status, json.dumps({"error_code": code, "message": "a\nmessage"}).encode()


class Writing:
    """A writer at work."""

    def __init__(self, server: Server) -> None:
        self.notified: list[Key] = []
        self.writer = RegistryWriter(lambda: server, self.notified.append)

    async def write(self, writes: Writes, key: Key = KEY) -> None:
        """Requests it, and waits until the state has changed."""
        before = len(self.notified)
        self.writer.request(key, writes)
        await self.until_notified(before)

    async def until_notified(self, before: int) -> None:
        async with asyncio.timeout(10):
            while len(self.notified) == before:
                await asyncio.sleep(0.001)


@pytest.fixture
def server() -> Server:
    return Server()


@pytest.fixture
async def writing(server: Server, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Writing]:
    monkeypatch.setattr(writer_module, "REQUEST_INTERVAL", 0.0)
    writing = Writing(server)
    task = asyncio.create_task(writing.writer.run())
    yield writing
    task.cancel()
    await asyncio.wait({task})


async def test_a_verdict_becomes_a_tag_once(server: Server, writing: Writing) -> None:
    writes = Writes((NOTE,))
    await writing.write(writes)

    tag = json.loads(server.tags["2"][TAG])
    assert tag == {"verdict": "Promoted", "since": "2026-11-28T07:00:00Z"}
    assert writing.writer.state(KEY).done == writes

    gets = server.gets
    writing.writer.request(KEY, writes)
    await asyncio.sleep(0.02)
    assert (server.gets, server.posts) == (gets, ["set-tag"]), "the same is not looked at again"


async def test_after_a_restart_it_is_read_and_not_written_again(
    server: Server, writing: Writing
) -> None:
    failed = VersionNote("wine", "2", "Failed", NOTE.since, "ModelLoadFailed", "no such module")
    await writing.write(Writes((failed,)))
    writing.writer.cancel(KEY)

    # Why it was turned back is not remembered for ever, and stays as it was written.
    await writing.write(Writes((VersionNote("wine", "2", "Failed", NOTE.since),)))

    assert server.posts == ["set-tag"]
    assert json.loads(server.tags["2"][TAG])["reason"] == "ModelLoadFailed"


@pytest.mark.parametrize("present", ["", "not JSON", "[]", '{"verdict": "Promoted"}', "[" * 9999])
async def test_what_others_wrote_there_is_replaced(
    server: Server, writing: Writing, present: str
) -> None:
    server.tags["2"][TAG] = present
    await writing.write(Writes((NOTE,)))
    assert json.loads(server.tags["2"][TAG])["verdict"] == "Promoted"


async def test_a_version_that_is_gone_is_nobodys_trouble(server: Server, writing: Writing) -> None:
    gone = VersionNote("wine", "9", "Replaced", NOTE.since)
    await writing.write(Writes((gone, NOTE)))
    assert writing.writer.state(KEY).failure is None
    assert TAG in server.tags["2"]


async def test_an_alias_is_set_and_read_back(server: Server, writing: Writing) -> None:
    await writing.write(Writes(alias=CHANGE))
    assert server.aliases == {"champion": "2"}
    assert writing.writer.state(KEY).alias_set == CHANGE
    writing.writer.cancel(KEY)

    await writing.write(Writes(alias=CHANGE))
    assert server.posts == ["alias"], "it was there"


async def test_who_may_only_read_is_noted_and_tried_seldom(
    server: Server, writing: Writing, monkeypatch: pytest.MonkeyPatch
) -> None:
    server.is_read_only = True
    await writing.write(Writes((NOTE,)))

    failure = writing.writer.state(KEY).failure
    assert failure is not None and failure.reason is Reason.REGISTRY_READ_ONLY
    assert "grant its user EDIT" in failure.message
    assert server.posts == ["set-tag"]
    await asyncio.sleep(0.02)
    assert server.posts == ["set-tag"], "not in a loop"


@pytest.mark.parametrize(
    ("trouble", "reason"),
    [
        (Unreachable("connection refused"), Reason.REGISTRY_UNREACHABLE),
        (_error(500, "INTERNAL_ERROR"), Reason.REGISTRY_ERROR),
        ((401, b""), Reason.REGISTRY_READ_ONLY),
        ((200, b"<html>"), Reason.REGISTRY_ERROR),
        (_ok({}), Reason.REGISTRY_ERROR),
    ],
)
async def test_trouble_passes_and_holds_up_nobody(
    server: Server,
    writing: Writing,
    monkeypatch: pytest.MonkeyPatch,
    trouble: Response | Exception,
    reason: Reason,
) -> None:
    server.trouble = trouble
    await writing.write(Writes((NOTE,)))
    failure = writing.writer.state(KEY).failure
    assert failure is not None and failure.reason is reason
    assert "\n" not in failure.message

    server.trouble = None
    before = len(writing.notified)
    other = Key("team-b", "wine")
    writing.writer.request(other, Writes((NOTE,)))
    await writing.until_notified(before)
    assert writing.writer.state(other).done is not None


async def test_a_failed_write_is_tried_again(
    server: Server, writing: Writing, monkeypatch: pytest.MonkeyPatch
) -> None:
    server.trouble = Unreachable("connection refused")
    monkeypatch.setattr(writer_module, "MAX_RETRY", 0.01)
    await writing.write(Writes((NOTE,)))
    entry = writing.writer._entries[KEY]
    assert entry.timer is not None
    before = len(writing.notified)
    server.trouble = None

    writing.writer._enqueue(KEY)

    await writing.until_notified(before)
    assert writing.writer.state(KEY).done == Writes((NOTE,))


async def test_nothing_to_write_is_done_without_a_request(server: Server, writing: Writing) -> None:
    await writing.write(Writes())
    assert (writing.writer.state(KEY).done, server.gets) == (Writes(), 0)


async def test_who_cancels_is_forgotten(server: Server, writing: Writing) -> None:
    writing.writer.request(KEY, Writes((NOTE,)))
    writing.writer.cancel(KEY)
    await asyncio.sleep(0.02)
    assert (server.gets, writing.writer._entries, writing.writer._queue) == (0, {}, {})
