"""A real MLflow server with real models in it, and registries that follow it."""

from __future__ import annotations

import asyncio
import contextlib
import ssl
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import Protocol

import mlflow
import pytest
import requests
from mlflow import MlflowClient

from mlflow_model_operator.api.model_version import (
    ModelVersion,
    ResolutionError,
    ResolutionPending,
)
from mlflow_model_operator.api.resource import Key
from mlflow_model_operator.registry import Registry
from mlflow_model_operator.settings import Settings
from tests.integration.registry.front import Front
from tests.integration.tracking_server import TrackingServer, tracking_server

WITHIN = 60.0  # seconds
INTERVAL = 0.2  # seconds between polls

KEY = Key("default", "wine")


@dataclass
class Wine:
    """A registered model with two versions. Version 1 is @champion and in Production."""

    name: str
    client: MlflowClient
    run_id: str  # the run that logged version 1, under the name "model"
    model_id: str  # version 1 as a logged model
    old_run_id: str  # a run with the model among its artifacts, as MLflow 2 stored it


class Following:
    """A registry at work, and whom it has notified."""

    def __init__(self, tracking_uri: str | None, interval: float) -> None:
        self.notified: Counter[Key] = Counter()
        self.removed: set[str] = set()
        self.polls: Counter[tuple[str, str]] = Counter()  # by server and result
        settings = Settings(tracking_uri=tracking_uri, poll_interval=interval)
        self.registry = Registry(settings, lambda key: self.notified.update([key]), observer=self)

    async def resolve(
        self, uri: str, tracking_uri: str | None = None, key: Key = KEY
    ) -> ModelVersion:
        """Resolves as reconciling does."""
        self.registry.unsubscribe(key, except_for={(tracking_uri, uri)})
        return await self.resolve_also(uri, tracking_uri, key)

    async def resolve_also(
        self, uri: str, tracking_uri: str | None = None, key: Key = KEY
    ) -> ModelVersion:
        """Resolves one of several URIs; what is pending is resolved again when notified."""
        before = self.notified[key]
        try:
            return await self.registry.resolve(key, uri, tracking_uri)
        except ResolutionPending:
            await self.until(f"an answer for {uri}", lambda: self.notified[key] > before)
            self.notified[key] -= 1
            return await self.resolve_also(uri, tracking_uri, key)

    async def failure(self, uri: str, tracking_uri: str | None = None) -> ResolutionError:
        """Resolves what can't be, and returns why."""
        with pytest.raises(ResolutionError) as caught:
            await self.resolve(uri, tracking_uri)
        return caught.value

    async def until_notified(self, *keys: Key) -> None:
        """Waits until each of the keys was notified, and forgets that they were."""
        await self.until(f"{keys} to be notified", lambda: all(self.notified[key] for key in keys))
        for key in keys:
            del self.notified[key]

    async def until_polled(self, times: int = 1, result: str = "success") -> None:
        """Waits for so many more polls with that result."""
        before = self._polls(result)
        polls = f"{times} polls: {result}"
        await self.until(polls, lambda: self._polls(result) >= before + times)

    async def until(self, condition: str, holds: Callable[[], bool]) -> None:
        """Waits for a condition."""
        deadline = time.monotonic() + WITHIN
        while not holds():
            assert time.monotonic() < deadline, f"not within {WITHIN:g} s: {condition}"
            await asyncio.sleep(0.01)

    def registry_polled(self, server: str, result: str, seconds: float) -> None:
        """Called by the registry."""
        assert seconds >= 0
        self.polls[server, result] += 1

    def registry_removed(self, server: str) -> None:
        """Called by the registry."""
        self.removed.add(server)

    def _polls(self, result: str) -> int:
        return sum(n for (_, ended), n in self.polls.items() if ended == result)


class Follow(Protocol):
    """Starts a registry with that default tracking server."""

    def __call__(self, tracking_uri: str | None, interval: float = INTERVAL) -> Following: ...


@pytest.fixture(scope="session")
def mlflow_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the server keeps its database, mlflow.db."""
    return tmp_path_factory.mktemp("mlflow")


@pytest.fixture(scope="session")
def mlflow_server(mlflow_folder: Path) -> Iterator[TrackingServer]:
    """A real MLflow tracking server."""
    with tracking_server(mlflow_folder) as server:
        yield server


@pytest.fixture(scope="session")
def model_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model as files."""
    folder = tmp_path_factory.mktemp("models") / "model"
    mlflow.pyfunc.save_model(folder, python_model=Echo(), pip_requirements=["mlflow"])
    return folder


@pytest.fixture(scope="session")
def wine(mlflow_server: TrackingServer, model_folder: Path) -> Wine:
    """A model that was logged and registered as users do it; tests only read it."""
    client = MlflowClient(mlflow_server.url)
    with _tracking_at(mlflow_server.url), mlflow.start_run() as run:
        logged = mlflow.pyfunc.log_model(
            name="model",
            python_model=Echo(),
            pip_requirements=["mlflow"],
            registered_model_name="wine",
        )
        old = client.create_run(run.info.experiment_id)
    client.log_artifacts(old.info.run_id, str(model_folder), "model")
    client.create_model_version("wine", f"{old.info.artifact_uri}/model", old.info.run_id)
    client.set_registered_model_alias("wine", "champion", "1")
    client.set_registered_model_alias("wine", "challenger", "2")
    move_to_stage(mlflow_server, "wine", "1", "Production")
    return Wine("wine", client, run.info.run_id, logged.model_id, old.info.run_id)


@pytest.fixture
def new_model(mlflow_server: TrackingServer) -> Callable[[], str]:
    """Registers a model with two versions, @champion being the first; returns its name."""
    return lambda: _register(mlflow_server)


@pytest.fixture
def new_front(mlflow_server: TrackingServer) -> Iterator[Callable[..., Front]]:
    """Starts a proxy before the server."""
    with contextlib.ExitStack() as stack:

        def start(tls: ssl.SSLContext | None = None) -> Front:
            front = Front(mlflow_server.url, tls)
            front.start()
            stack.callback(front.stop)
            return front

        yield start


@pytest.fixture
def front(new_front: Callable[..., Front]) -> Front:
    """A proxy before the server."""
    return new_front()


@pytest.fixture
async def follow() -> AsyncIterator[Follow]:
    """Starts a registry with that default tracking server."""
    async with asyncio.TaskGroup() as group:
        tasks = []

        def start(tracking_uri: str | None, interval: float = INTERVAL) -> Following:
            following = Following(tracking_uri, interval)
            tasks.append(group.create_task(following.registry.run()))
            return following

        yield start
        for task in tasks:
            task.cancel()


@pytest.fixture
def following(follow: Follow, mlflow_server: TrackingServer) -> Following:
    """A registry whose default is the real server."""
    return follow(mlflow_server.url)


def move_to_stage(server: TrackingServer, name: str, version: str, stage: str) -> None:
    """What MLflow's own client does, with a warning that stages are deprecated."""
    body = {"name": name, "version": version, "stage": stage, "archive_existing_versions": False}
    url = f"{server.url}/api/2.0/mlflow/model-versions/transition-stage"
    requests.post(url, json=body, timeout=30).raise_for_status()


_names = (f"model-{number}" for number in count())


def _register(server: TrackingServer) -> str:
    name = next(_names)
    server.register(name, versions=2)
    server.point(name, "champion", "1")
    return name


class Echo(mlflow.pyfunc.PythonModel):  # type: ignore[misc]
    """A model without any library."""

    def predict(self, model_input: list[float]) -> list[float]:
        """Gives back what it is given."""
        return model_input


@contextlib.contextmanager
def _tracking_at(uri: str) -> Iterator[None]:
    before = mlflow.get_tracking_uri()
    mlflow.set_tracking_uri(uri)
    try:
        yield
    finally:
        mlflow.set_tracking_uri(before)
