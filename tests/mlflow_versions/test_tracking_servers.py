"""The operator's client of the registry, against real tracking servers of other MLflow versions."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass

import pytest
import requests

from benchmarks.environments import environment
from tests.integration.registry import conftest as registry
from tests.integration.registry.conftest import Follow, Following
from tests.integration.tracking_server import TrackingServer, tracking_server
from tests.mlflow_versions.test_matrix import HERE, _pypi
from tests.portability import MLMODELS, PYTHON

__all__ = ["_pypi", "follow"]

follow = registry.follow

# The oldest MLflow 2; the oldest that has aliases; the newest 2; the oldest 3. The newest 3 is that
# of all other tests. Servers get packages of their own where those for logging have no server.
LOCKS = {
    "2.0.0": "mlflow-2.0.0.lock",
    "2.3.2": "server-2.3.2.lock",
    "2.22.5": "server-2.22.5.lock",
    "3.0.0": "mlflow-3.0.0.lock",
}
TESTED = LOCKS if os.environ.get("MLFLOW_MATRIX") == "full" else ("2.0.0", "2.3.2")
MLMODEL = next(text for text, is_portable in MLMODELS if is_portable)
FIRST_WITH_ALIASES = (2, 3)


@dataclass
class Old:
    """A server of an older version, with a model of two versions."""

    version: str
    server: TrackingServer
    run_id: str

    @property
    def has_aliases(self) -> bool:
        return tuple(map(int, self.version.split(".")[:2])) >= FIRST_WITH_ALIASES


@pytest.fixture(scope="module", params=TESTED)
def old(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Old]:
    version = request.param
    python = str(environment(HERE / LOCKS[version]) / "bin" / "python")
    with tracking_server(tmp_path_factory.mktemp("old"), python=python) as server:
        answer = requests.get(f"{server.url}/version", timeout=30)
        assert answer.text == version or answer.status_code == 404  # the oldest do not say
        run_id = server.register_with_files("wine", MLMODEL, MLMODEL)
        if Old(version, server, run_id).has_aliases:
            server.point("wine", "champion", "1")
        registry.move_to_stage(server, "wine", "1", "Production")
        yield Old(version, server, run_id)


@pytest.fixture
async def following(follow: Follow, old: Old) -> AsyncIterator[Following]:
    yield follow(old.server.url)


async def test_versions_stages_and_runs_resolve(following: Following, old: Old) -> None:
    for uri in ("models:/wine/1", "models:/wine/Production"):
        resolved = await following.resolve(uri)
        assert (resolved.version, resolved.python_version) == ("1", PYTHON)
    latest = await following.resolve("models:/wine/latest")
    assert (latest.version, latest.is_portable) == ("2", True)
    assert (await following.resolve(f"runs:/{old.run_id}/model")).python_version == PYTHON


async def test_an_alias_is_followed_where_the_server_has_aliases(
    following: Following, old: Old
) -> None:
    if not old.has_aliases:
        error = await following.failure("models:/wine@champion")
        assert error.reason == "AliasNotFound"
        return
    assert (await following.resolve("models:/wine@champion")).version == "1"
    old.server.point("wine", "champion", "2")
    await following.until_notified(registry.KEY)
    assert (await following.resolve("models:/wine@champion")).version == "2"


async def test_what_is_missing_is_named(following: Following) -> None:
    expected = {
        "models:/nobody/latest": "ModelNotFound",
        "models:/wine/99": "VersionNotFound",
        "models:/wine/Staging": "StageEmpty",
        "runs:/0123456789abcdef0123456789abcdef/model": "RunNotFound",
    }
    for uri, reason in expected.items():
        assert (await following.failure(uri)).reason == reason
