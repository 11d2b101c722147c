"""The watch of the children, against a real API server: what is missed comes by a list."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress

import pytest

from mlflow_model_operator.api import names
from mlflow_model_operator.api.resource import Key
from mlflow_model_operator.kube import client, kinds
from mlflow_model_operator.kube.cache import Cache
from mlflow_model_operator.kube.client import ApiError, Cluster
from mlflow_model_operator.kube.objects import resource_version_of
from mlflow_model_operator.kube.reflector import Reflector
from tests.integration.control_plane import ApiServer

WITHIN = 30.0  # seconds
FORGOTTEN = "1"


class Followed:
    """A follower of one namespace, what it has seen, and what others do there.

    Its kind is our own resource: the API server knows it only since its CRD was installed, so that
    it refuses to watch it from earlier versions.
    """

    def __init__(self, api: ApiServer, cluster: Cluster, namespace: str) -> None:
        self.api = api
        self.cluster = cluster
        self.namespace = namespace
        self.reported: set[Key] = set()
        self.cache = Cache(on_change=self.reported.add)
        self.reflector = Reflector(
            cluster, self.cache, kinds.RESOURCE, namespace, relist_interval=3600
        )

    def create(self, name: str, managed_by: str = names.MANAGED_BY_VALUE) -> str:
        """Returns the new object's resource version."""
        body = {
            "apiVersion": names.API_VERSION,
            "kind": names.KIND,
            "metadata": {"name": name, "labels": {names.MANAGED_BY: managed_by}},
            "spec": {"model": {"uri": "models:/wine/1"}},
        }
        response = self.api.request("POST", self._path, body)
        assert response.ok, response.text
        return str(response.json()["metadata"]["resourceVersion"])

    def delete(self, name: str) -> None:
        self.api.request("DELETE", f"{self._path}/{name}").raise_for_status()

    def names(self) -> set[str]:
        return {key.name for key in self.cache}

    async def until(self, holds: Callable[[], bool]) -> None:
        async with asyncio.timeout(WITHIN):
            while not holds():
                await asyncio.sleep(0.02)

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        task = asyncio.create_task(self.reflector.run())
        try:
            yield
        finally:
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task

    async def list(self) -> None:
        """Follows until what there is has been listed."""
        async with self.running():
            await self.reflector.synced.wait()

    @property
    def _path(self) -> str:
        return kinds.RESOURCE.path(self.namespace)


@pytest.fixture
async def followed(crds: ApiServer, namespace: str) -> AsyncIterator[Followed]:
    cluster = Cluster(await client.connect(str(crds.kubeconfig)))
    yield Followed(crds, cluster, namespace)
    await cluster.close()


async def test_what_is_there_and_what_happens_is_seen(followed: Followed) -> None:
    followed.create("before")
    followed.create("somebody-elses", managed_by="Helm")
    async with followed.running():
        await followed.reflector.synced.wait()
        assert followed.names() == {"before"}
        followed.create("after")
        followed.delete("before")
        await followed.until(lambda: followed.names() == {"after"})
    assert {key.name for key in followed.reported} == {"before", "after"}


async def test_it_goes_on_where_it_ended(followed: Followed) -> None:
    followed.create("one")
    await followed.list()
    followed.delete("one")
    followed.create("two")
    async with followed.running():
        await followed.until(lambda: followed.names() == {"two"})


async def test_a_version_that_the_server_has_forgotten_is_refused(followed: Followed) -> None:
    with pytest.raises(ApiError) as refusal:
        async with asyncio.timeout(WITHIN):
            async for _ in followed.cluster.watch_managed(kinds.RESOURCE, "", FORGOTTEN):
                pass
    assert refusal.value.status == 410


async def test_then_it_lists_again_and_drops_what_is_gone(followed: Followed) -> None:
    followed.create("one")
    await followed.list()
    followed.delete("one")
    followed.create("two")
    followed.reflector._version = FORGOTTEN  # as if it had been cut off for an hour
    async with followed.running():
        await followed.until(lambda: followed.names() == {"two"})


async def test_what_was_made_during_the_list_is_not_dropped_by_it(followed: Followed) -> None:
    followed.create("one")
    await followed.list()
    listed = followed.cache.resource(Key(followed.namespace, "one"))
    assert listed is not None
    # An operator that runs beside may have written its status since it was created.
    version = resource_version_of(listed)
    followed.reported.clear()
    delete_absent = followed.cache.delete_absent
    delete_absent(kinds.RESOURCE, followed.namespace, (), as_of=str(int(version) - 1))
    assert followed.reported == set()
    delete_absent(kinds.RESOURCE, followed.namespace, (), as_of=version)
    assert followed.reported == {Key(followed.namespace, "one")}
    assert followed.names() == set()
