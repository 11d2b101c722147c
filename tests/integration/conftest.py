"""What integration tests stand on: a real API server, with our CRD."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.integration import control_plane
from tests.integration.control_plane import ApiServer


@pytest.fixture(scope="session")
def kubernetes_tools() -> Path:
    """The folder with kube-apiserver, etcd and kubectl."""
    return control_plane.tools(*control_plane.PROGRAMS)


@pytest.fixture(scope="session")
def api_server(
    kubernetes_tools: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[ApiServer]:
    """A real API server for all tests of this process, with nothing in it."""
    folder = tmp_path_factory.mktemp("control-plane")
    with control_plane.api_server(folder, kubernetes_tools) as server:
        yield server


@pytest.fixture(scope="session")
def crds(api_server: ApiServer) -> ApiServer:
    """The API server with the project's CRDs."""
    api_server.install_crds(*sorted(control_plane.CRD_FOLDER.glob("*.yaml")))
    return api_server


@pytest.fixture(scope="session")
def controllers(api_server: ApiServer) -> Iterator[ApiServer]:
    """The API server with Kubernetes' own controllers running beside it."""
    control_plane.tools("kube-controller-manager")
    with control_plane.controller_manager(api_server):
        yield api_server


@pytest.fixture
def namespace(api_server: ApiServer) -> str:
    """A namespace of the test's own."""
    return api_server.make_namespace()
