"""`kubectl mmd`, called by the real kubectl against a real API server with the operator at work."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import yaml

from dev.cluster.settings import REPOSITORY
from mlflow_model_operator.api import names
from tests.integration.operator.conftest import Json, World

STEPS = [{"weight": 50, "hold": "1s"}, {"pause": {}}]


@dataclass
class Plugin:
    """The plugin in PATH, as pip installs it, and a world to use it on."""

    world: World
    folder: Path

    def __call__(self, *arguments: str, given: str | None = None) -> tuple[int, str]:
        """The exit status of `kubectl mmd …`, and all that it says."""
        namespace = f"--namespace={self.world.namespace}"
        done = subprocess.run(
            [self.world.api.bin / "kubectl", "mmd", *arguments, namespace],
            env={
                **os.environ,
                "PATH": f"{self.folder}:{self.world.api.bin}:{os.environ['PATH']}",
                "KUBECONFIG": str(self.world.api.kubeconfig),
                "PYTHONPATH": str(REPOSITORY / "operator"),
            },
            input=given,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
        )
        return done.returncode, done.stdout

    def seen(self) -> Json:
        status, text = self("status", "wine", "--output=json")
        assert status == 0, text
        found: Json = json.loads(text)
        return found


@pytest.fixture
def plugin(world: World, tmp_path: Path) -> Iterator[Plugin]:
    program = tmp_path / "kubectl-mmd"
    module = "mlflow_model_operator.cli.main"
    program.write_text(f'#!/bin/sh\nexec {sys.executable} -m {module} "$@"\n')
    program.chmod(0o755)
    yield Plugin(world, tmp_path)


def given_a_rollout_is_paused(plugin: Plugin) -> str:
    """Version 2 has half of the requests; returns its revision."""
    world = plugin.world
    spec = {
        "model": {"uri": f"models:/{world.model}@champion"},
        "rollout": {"steps": STEPS, "keepOld": "1h"},
    }
    world.given_wine_is_served(spec)
    world.mlflow.point(world.model, "champion", "2")
    new = world.until_revision_of("2")
    world.set_ready(new)
    world.until("a pause", lambda: world.status()["rollout"]["phase"] == "Paused")
    return new


def test_a_rollout_is_looked_at_and_controlled(plugin: Plugin) -> None:
    new = given_a_rollout_is_paused(plugin)
    status, text = plugin("status", "wine")
    assert status == 0
    assert "someone resumes the rollout: kubectl mmd resume wine" in text
    assert [revision["role"] for revision in plugin.seen()["revisions"]] == ["stable", "target"]
    assert plugin.seen()["rollout"]["steps"][1]["state"] == "now"

    status, text = plugin("pause", "wine")
    assert (status, "is Paused" in text) == (1, True)
    status, text = plugin("abort", "wine")
    assert (status, text) == (0, "wine is Failed: version 1 serves\n")
    status, text = plugin("retry", "wine")
    assert (status, text[:9]) == (0, "Version 2")
    world = plugin.world
    world.until("a pause", lambda: world.status()["rollout"]["phase"] == "Paused")
    assert plugin("promote", "wine")[0] == 0
    world.until("version 2", lambda: world.status()["stable"]["revision"] == new)
    assert plugin("status", "wine", "--until-done", "--timeout=30", "--interval=0.2")[0] == 0

    status, text = plugin("undo", "wine")
    assert (status, text[:21]) == (0, "Version 1 serves agai")
    status, text = plugin("history", "wine")
    assert status == 0
    assert [line.split()[-3:-1] for line in text.splitlines()[1:]] == [
        ["Undo", "Promoted"],
        ["Registry", "Promoted"],
        ["Registry", "Aborted"],
        ["Start", "Promoted"],
    ]
    row = world.api.kubectl("get", "mmd", "wine", f"--namespace={world.namespace}")
    assert "RolloutUndone" in row


def test_what_is_not_there_is_said_in_a_sentence(plugin: Plugin) -> None:
    status, text = plugin("status", "nothing")
    assert (status, "not found" in text) == (1, True)
    assert "Traceback" not in text


def test_a_plan_compares_with_what_is_live(plugin: Plugin) -> None:
    world = plugin.world
    spec: Json = {"model": {"uri": f"models:/{world.model}@champion"}}
    stable = world.given_wine_is_served(spec)

    def planned(change: Json, *flags: str) -> tuple[int, str]:
        manifest = {
            "apiVersion": names.API_VERSION,
            "kind": names.KIND,
            "metadata": {"name": "wine", "namespace": world.namespace},
            "spec": {**spec, **change},
        }
        return plugin("plan", "--filename=-", "--live", *flags, given=yaml.safe_dump(manifest))

    environment = {"MMO_SCORING_IMAGES": '{"3.11": "scoring:3.11"}'}
    with pytest.MonkeyPatch.context() as patch:
        for name, value in environment.items():
            patch.setenv(name, value)
        patch.setenv("MLFLOW_TRACKING_URI", world.mlflow.url)
        status, same = planned({})
        assert status == 0, same
        assert {line.split()[0] for line in same.splitlines() if stable in line} >= {"keep"}
        assert "create" not in same
        status, changed = planned({"server": {"env": [{"name": "MODE", "value": "new"}]}})
        assert status == 0, changed
        assert "Serves now" in changed and "create" in changed
    status, refused = planned({"rollout": {"strategy": "canary", "steps": STEPS}})
    assert status == 1
    assert "write strategy or steps, not both" in refused and "Warning" not in refused
