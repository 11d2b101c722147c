"""Writes into the operator's own registry: tags of model versions, and aliases.

Apart from all reconciling: in a queue of its own, a bounded number of requests per second, each
read first and sent only where it changes something. What can't be written is tried again ever more
seldom, and nothing else waits for it.
"""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any, Protocol

from mlflow_model_operator.api.names import GROUP
from mlflow_model_operator.api.reasons import Reason
from mlflow_model_operator.api.registry_writes import (
    AliasChange,
    VersionNote,
    WriteFailure,
    Writes,
    WriteState,
)
from mlflow_model_operator.api.resource import Key
from mlflow_model_operator.api.text import single_line
from mlflow_model_operator.registry.http import Response, TooLarge, Unreachable

API = "/api/2.0/mlflow"
REQUEST_INTERVAL = 0.2  # seconds between two requests
MIN_RETRY, MAX_RETRY = 30.0, 3600.0  # seconds between two tries of the same
MAX_MESSAGE_LENGTH = 200  # characters of a server's own words

log = logging.getLogger(__name__)


class WritingClient(Protocol):
    """Sends requests to the operator's own tracking server."""

    uri: str

    async def get(self, path: str, query: dict[str, str], first: int | None = None) -> Response:
        """Raises Unreachable or TooLarge."""

    async def post(self, path: str, body: dict[str, str]) -> Response:
        """Raises Unreachable or TooLarge."""

    async def close(self) -> None:
        """Closes the connections."""


class _Failed(Exception):
    def __init__(self, reason: Reason, message: str) -> None:
        super().__init__(message)
        self.failure = WriteFailure(reason, message)


@dataclass
class _Entry:
    """The writes of one resource."""

    writes: Writes
    state: WriteState = field(default_factory=WriteState)
    retry: float = MIN_RETRY
    timer: asyncio.TimerHandle | None = None


class RegistryWriter:
    """Brings the registry to what resources ask for; to be used from one event loop."""

    def __init__(
        self,
        connect: Callable[[], WritingClient],
        on_change: Callable[[Key], None],
        cluster: str = "",
    ) -> None:
        """`connect` is called at the first write. `on_change` gets the resources whose state of
        writing has changed."""
        self._connect = connect
        self._client: WritingClient | None = None
        self._on_change = on_change
        self._cluster = cluster
        self._entries: dict[Key, _Entry] = {}
        self._queue: dict[Key, None] = {}  # a set that keeps its order
        self._changed = asyncio.Event()

    def state(self, key: Key) -> WriteState:
        """How far the writes of a resource are."""
        entry = self._entries.get(key)
        return entry.state if entry else WriteState()

    def request(self, key: Key, writes: Writes) -> None:
        """Has these written for a resource; nothing happens if they were requested before."""
        entry = self._entries.get(key)
        if entry is not None and entry.writes == writes:
            return
        self.cancel(key)
        self._entries[key] = _Entry(writes)
        self._enqueue(key)

    def cancel(self, key: Key) -> None:
        """Nothing is to be written for a resource any more."""
        entry = self._entries.pop(key, None)
        if entry is not None and entry.timer is not None:
            entry.timer.cancel()
        self._queue.pop(key, None)

    async def run(self) -> None:
        """Writes until it is cancelled, for one resource at a time."""
        try:
            while True:
                while not self._queue:
                    self._changed.clear()
                    await self._changed.wait()
                key = next(iter(self._queue))
                del self._queue[key]
                await self._write(key, self._entries[key])
        finally:
            if self._client is not None:
                await self._client.close()

    def _enqueue(self, key: Key) -> None:
        self._queue[key] = None
        self._changed.set()

    async def _write(self, key: Key, entry: _Entry) -> None:
        before = entry.state
        try:
            for note in entry.writes.notes:
                await self._tag(key, note)
            if entry.writes.alias is not None:
                await self._set_alias(entry.writes.alias)
        except _Failed as failed:
            entry.state = replace(before, failure=failed.failure)
            self._retry_later(key, entry)
        except Exception:
            # Whatever a server answers must end nobody's work.
            log.exception("%s: writing into the registry failed", key)
            message = "The registry's answer was not readable"
            entry.state = replace(before, failure=WriteFailure(Reason.REGISTRY_ERROR, message))
            self._retry_later(key, entry)
        else:
            entry.state = WriteState(done=entry.writes, alias_set=entry.writes.alias)
        if entry.state != before and self._entries.get(key) is entry:
            self._on_change(key)

    def _retry_later(self, key: Key, entry: _Entry) -> None:
        if self._entries.get(key) is not entry:
            return
        entry.timer = asyncio.get_running_loop().call_later(entry.retry, self._enqueue, key)
        entry.retry = min(entry.retry * 2, MAX_RETRY)

    async def _tag(self, key: Key, note: VersionNote) -> None:
        """Writes the verdict as a tag, unless it is there, or the version is not."""
        version = {"name": note.name, "version": note.version}
        subject = f"version {note.version} of registered model {note.name!r}"
        entry = await self._get("/model-versions/get", version, subject)
        if entry is None:
            return
        tag_key, value = tag_of(key, self._cluster), tag_value(note)
        tags = {tag.get("key"): tag.get("value") for tag in entry["model_version"].get("tags", ())}
        if not _is_written(tags.get(tag_key), value):
            await self._post(
                "/model-versions/set-tag", {**version, "key": tag_key, "value": value}, subject
            )
            log.info("%s: tagged %s: %s", key, subject, note.verdict)

    async def _set_alias(self, change: AliasChange) -> None:
        """Sets the alias, unless it is there, and reads it back."""
        subject = f"alias {change.alias!r} of registered model {change.name!r}"
        if await self._version_of(change, subject) == change.version:
            return
        body = {"name": change.name, "alias": change.alias, "version": change.version}
        await self._post("/registered-models/alias", body, subject)
        if await self._version_of(change, subject) != change.version:
            raise _Failed(Reason.REGISTRY_ERROR, f"The {subject} was moved by somebody else")
        log.info("set the %s to version %s", subject, change.version)

    async def _version_of(self, change: AliasChange, subject: str) -> str | None:
        query = {"name": change.name, "alias": change.alias}
        entry = await self._get("/registered-models/alias", query, subject)
        return None if entry is None else str(entry["model_version"]["version"])

    async def _get(self, path: str, query: dict[str, str], subject: str) -> Any:
        """The answer; None where there is no such thing."""
        status, body = await self._send(lambda client: client.get(API + path, query))
        if status == 200:
            return json.loads(body)
        if _error_code(body) in ("RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE"):
            return None
        raise self._refusal(status, body, "read", subject)

    async def _post(self, path: str, fields: dict[str, str], subject: str) -> None:
        status, body = await self._send(lambda client: client.post(API + path, fields))
        if status != 200:
            raise self._refusal(status, body, "write", subject)

    async def _send(self, send: Callable[[WritingClient], Any]) -> Response:
        self._client = self._client or self._connect()
        await asyncio.sleep(REQUEST_INTERVAL)
        try:
            response: Response = await send(self._client)
        except (Unreachable, TooLarge) as error:
            raise _Failed(
                Reason.REGISTRY_UNREACHABLE,
                f"Tracking server {self._client.uri} is unreachable: {error}",
            ) from error
        return response

    def _refusal(self, status: int, body: bytes, verb: str, subject: str) -> _Failed:
        assert self._client is not None
        if status in (401, 403):
            return _Failed(
                Reason.REGISTRY_READ_ONLY,
                f"Tracking server {self._client.uri} does not let the operator {verb} {subject} "
                f"({status}): grant its user EDIT on the model, or leave out "
                "spec.rollout.registry and spec.rollout.onSuccess",
            )
        words = single_line(_message(body), MAX_MESSAGE_LENGTH) or "without an error message"
        return _Failed(
            Reason.REGISTRY_ERROR,
            f"Tracking server {self._client.uri} answered {status} to a request to {verb} "
            f"{subject}: {words}",
        )


def tag_of(key: Key, cluster: str) -> str:
    """The key of a resource's tag.

    >>> tag_of(Key("team-a", "wine"), ""), tag_of(Key("team-a", "wine"), "staging")
    ('mlflow-model-operator.dev/team-a/wine', 'mlflow-model-operator.dev/staging/team-a/wine')
    """
    return "/".join(filter(None, (GROUP, cluster, key.namespace, key.name)))


def tag_value(note: VersionNote) -> str:
    """The value of a resource's tag, for programs and people."""
    fields = {
        "verdict": note.verdict,
        "since": note.since,
        "reason": note.reason,
        "message": note.message,
    }
    return json.dumps({name: text for name, text in fields.items() if text})


def _is_written(present: object, value: str) -> bool:
    """Whether a tag says the same: why a version was rolled back is written once."""
    try:
        old, new = json.loads(str(present)), json.loads(value)
        return bool((old["verdict"], old["since"]) == (new["verdict"], new["since"]))
    except (ValueError, TypeError, KeyError, RecursionError):
        return False


def _error_code(body: bytes) -> str:
    return str(_error(body).get("error_code", ""))


def _message(body: bytes) -> str:
    return str(_error(body).get("message", ""))


def _error(body: bytes) -> dict[str, Any]:
    try:
        fields = json.loads(body)
    except (ValueError, RecursionError):
        return {}
    return fields if isinstance(fields, dict) else {}
