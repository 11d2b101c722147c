"""What is read from a server's responses, and from MLflow's files."""

from __future__ import annotations

import json
from typing import Any

import pytest

from mlflow_model_operator.api.signature import Signature
from mlflow_model_operator.registry.http import Response
from mlflow_model_operator.registry.resolution import (
    LoggedModelQuery,
    Query,
    RunQuery,
    VersionMetadata,
    VersionQuery,
)
from mlflow_model_operator.registry.tracking_server import (
    TrackingServer,
    is_portable,
    python_version,
)
from tests.portability import MLMODELS, PYTHON

MLMODEL = """\
artifact_path: model
flavors:
  python_function:
    env:
      conda: conda.yaml
      virtualenv: python_env.yaml
    loader_module: mlflow.sklearn
    model_path: model.pkl
    python_version: {version}
  sklearn:
    pickled_model: model.pkl
    sklearn_version: 1.7.2
mlflow_version: 3.17.2
"""


@pytest.mark.parametrize(
    ("written", "version"),
    [
        ("3.11.7", "3.11.7"),
        ("'3.10'", "3.10"),
        ("3.13.0rc1", "3.13.0rc1"),
        ("three", None),
        ("''", None),
        ("3", None),
    ],
)
def test_the_python_version_of_a_model(written: str, version: str | None) -> None:
    assert python_version(MLMODEL.format(version=written)) == version


@pytest.mark.parametrize(
    "text",
    [
        "",
        "flavors: {}",
        "flavors:\n  sklearn:\n    python_version: 3.11.7\n",
        "flavors:\n  python_function:\n    env: x\n  other:\n    python_version: 3.11.7\n",
        "<html>",
    ],
)
def test_a_model_without_one(text: str) -> None:
    assert python_version(text) is None


def test_a_long_file_is_read_in_no_time() -> None:
    lines = "    x: y\n" * 200_000
    assert python_version(f"  python_function:\n{lines}" * 3) is None


class Client:
    """A server with version 3 of wine, and the files of some artifacts by their run or version."""

    uri, is_own = "http://mlflow:5000", True

    def __init__(self, files: dict[str, str], **version: Any) -> None:
        self.version = {"name": "wine", "version": "3", "status": "READY", **version}
        self.files = files
        self.paths: list[str] = []

    async def get(self, path: str, query: dict[str, str], first: int | None = None) -> Response:
        self.paths.append(path)
        if path.endswith("/model-versions/get"):
            return 200, json.dumps({"model_version": self.version}).encode()
        if path.endswith("/runs/get"):
            return 200, b'{"run": {}}'
        if "artifact" not in path:
            return 200, b'{"model": {"info": {}}}'
        if path.endswith("/artifacts/files"):
            return 404, b""
        file = self.files.get(f"{query.get('run_id') or query.get('version')}/{query['path']}")
        return (404, b"") if file is None else (200, file.encode())

    async def close(self) -> None:
        """Nothing is open."""


VERSION = VersionQuery("wine", "3")


@pytest.mark.parametrize(
    ("fields", "model_id", "created"),
    [
        ({"source": "models:/m-1a2b", "creation_timestamp": 1000}, "m-1a2b", 1000),
        ({"source": "s3://bucket/wine", "creation_timestamp": 1000}, None, 1000),
        ({"source": "models:/wine/2"}, None, None),
        ({"source": "models:/m-../../x", "creation_timestamp": "soon"}, None, None),
        ({"source": None, "creation_timestamp": -1}, None, None),
        ({"creation_timestamp": 1 << 80}, None, None),
    ],
)
async def test_what_tells_a_version_from_another_of_its_number(
    fields: dict[str, Any], model_id: str | None, created: int | None
) -> None:
    result = await TrackingServer(Client({}, **fields)).execute(VERSION)
    assert result == VersionMetadata(None, model_id, created)


async def test_the_files_of_a_version_that_is_still_the_same_are_not_read_again() -> None:
    files = {"3/MLmodel": MLMODEL.format(version="3.11.7")}
    client = Client(files, source="models:/m-1a2b", creation_timestamp=1000)
    server = TrackingServer(client)
    first = await server.execute(VERSION)
    assert first == VersionMetadata("3.11.7", "m-1a2b", 1000)
    client.paths.clear()
    assert await server.execute(VERSION, previous=first) == first
    assert client.paths == ["/api/2.0/mlflow/model-versions/get"]

    client.version["source"] = "models:/m-3c4d"
    files["3/MLmodel"] = MLMODEL.format(version="3.12.1")
    again = await server.execute(VERSION, previous=first)
    assert again == VersionMetadata("3.12.1", "m-3c4d", 1000)


@pytest.mark.parametrize("query", [VERSION, LoggedModelQuery("m-1a2b"), RunQuery("0a1b", "model")])
async def test_an_mlmodel_file_that_could_not_be_read_is_tried_again_less_and_less_often(
    query: Query,
) -> None:
    client = Client({}, creation_timestamp=1000)
    server = TrackingServer(client)
    metadata: VersionMetadata | None = None
    reads = []
    for poll in range(1100):
        client.paths.clear()
        result = await server.execute(query, previous=metadata)
        assert isinstance(result, VersionMetadata)
        metadata = result
        if any("artifact" in path for path in client.paths):
            reads.append(poll)
    assert reads == [0, 1, 2, 4, 8, 16, 32, 64, 128, 256, 512]
    assert metadata is not None
    assert not metadata.may_be_read


async def test_what_is_read_in_the_end_is_not_read_again() -> None:
    client = Client({}, creation_timestamp=1000)
    server = TrackingServer(client)
    first = await server.execute(VERSION)
    assert isinstance(first, VersionMetadata)
    client.files["3/MLmodel"] = MLMODEL.format(version="3.11.7")
    second = await server.execute(VERSION, previous=first)
    assert isinstance(second, VersionMetadata)
    assert (second.python_version, second.signature) == ("3.11.7", Signature())
    client.paths.clear()
    assert await server.execute(VERSION, previous=second) == second
    assert client.paths == ["/api/2.0/mlflow/model-versions/get"]


async def test_the_python_version_of_a_version_of_a_runs_model_is_read_from_the_run() -> None:
    files = {"0a1b/models/wine/MLmodel": MLMODEL.format(version="3.9.1")}
    client = Client(files, source="runs:/0a1b/models/wine", run_id="0a1b")
    result = await TrackingServer(client).execute(VERSION)
    assert result == VersionMetadata("3.9.1")


async def test_the_tags_of_a_version_are_read_again_and_bounded() -> None:
    client = Client({}, creation_timestamp=1000, tags=[{"key": "status", "value": "pending"}])
    server = TrackingServer(client)
    first = await server.execute(VERSION)
    assert first == VersionMetadata(None, None, 1000, (("status", "pending"),))
    client.version["tags"] = [{"key": "status", "value": "approved"}, {"key": "empty"}]
    again = await server.execute(VERSION, previous=first)
    assert isinstance(again, VersionMetadata)
    assert again.tags == (("empty", ""), ("status", "approved"))
    many = [{"key": f"k{number}", "value": "v"} for number in range(1000)]
    odd = [{"key": "long", "value": "x" * 251}, {"key": 7}, {"value": "v"}]
    client.version["tags"] = [*odd, *many]
    hostile = await server.execute(VERSION, previous=first)
    assert isinstance(hostile, VersionMetadata)
    assert len(hostile.tags) == 64
    assert {value for _, value in hostile.tags} == {"v"}


@pytest.mark.parametrize(("mlmodel", "expected"), MLMODELS)
def test_data_and_source_code_run_with_any_python(mlmodel: str, expected: bool) -> None:
    assert is_portable(mlmodel) is expected
    assert python_version(mlmodel) == PYTHON


def test_without_an_mlmodel_file_no_python_is_ruled_out_and_none_is_certain() -> None:
    assert not is_portable("")
    assert python_version("") is None
