"""`helm --wait` on a release with a resource: the real Helm, which reads it by kstatus."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from mlflow_model_operator.api import names
from tests.integration import control_plane
from tests.integration.control_plane import tools
from tests.integration.operator.conftest import WITHIN, Json, World
from tests.integration.tracking_server import TrackingServer


class Release:
    """A chart with one resource, and what Helm says of it."""

    def __init__(self, world: World, folder: Path) -> None:
        self._world, self._chart = world, folder / "chart"
        (self._chart / "templates").mkdir(parents=True)
        chart = {"apiVersion": "v2", "name": "wine", "version": "1.0.0"}
        (self._chart / "Chart.yaml").write_text(yaml.safe_dump(chart))

    def start(self, spec: Json, *flags: str) -> subprocess.Popen[str]:
        """Starts `helm upgrade --install --wait`."""
        resource = {
            "apiVersion": names.API_VERSION,
            "kind": names.KIND,
            "metadata": {"name": "wine"},
            "spec": spec,
        }
        (self._chart / "templates" / "wine.yaml").write_text(yaml.safe_dump(resource))
        api = self._world.api
        where = (f"--namespace={self._world.namespace}", f"--kubeconfig={api.kubeconfig}")
        command = ["upgrade", "--install", "wine", str(self._chart), "--wait", *where, *flags]
        return subprocess.Popen(
            [tools("helm") / "helm", *command],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            env={"HOME": str(self._chart.parent), "PATH": "/usr/bin:/bin"},
        )


def result(helm: subprocess.Popen[str]) -> tuple[int, str]:
    """How Helm has ended, and what it said."""
    output, _ = helm.communicate(timeout=WITHIN)
    return helm.returncode, output


@pytest.fixture
def release(world: World, tmp_path: Path) -> Release:
    return Release(world, tmp_path)


def spec_of(world: World, **more: Any) -> Json:
    return {"model": {"uri": f"models:/{world.model}@champion"}, **more}


def test_helm_waits_until_the_model_is_served(world: World, release: Release) -> None:
    helm = release.start(spec_of(world), "--timeout=50s")
    revision = world.until_revision_of("1")
    world.until_condition("Reconciling", "True", "Starting")
    assert helm.poll() is None, helm.communicate()

    world.set_ready(revision)
    code, output = result(helm)
    assert code == 0, output


def test_helm_does_not_wait_for_what_is_stopped(world: World, release: Release) -> None:
    code, output = result(
        release.start(spec_of(world, scaling={"minReplicas": 0}), "--timeout=50s")
    )
    assert code == 0, output


def test_helm_says_what_is_broken(world: World, release: Release) -> None:
    spec: Json = {"model": {"uri": f"models:/{world.model}/99"}}
    code, output = result(release.start(spec, "--timeout=5s"))
    assert code != 0
    assert "wine not ready. status: Failed" in output
    assert "register it, or use another version" in output


def test_helm_fails_where_nobody_looks_at_the_resource(
    kubernetes_tools: Path, mlflow_server: TrackingServer, tmp_path: Path
) -> None:
    with control_plane.api_server(tmp_path, kubernetes_tools) as api:
        api.install_crds(*control_plane.CRD_FOLDER.glob("*.yaml"))
        release = Release(World(api, mlflow_server, api.make_namespace()), tmp_path)
        code, output = result(release.start({"model": {"uri": "models:/wine/1"}}, "--timeout=3s"))
    assert code != 0
    assert "wine not ready. status: InProgress" in output
