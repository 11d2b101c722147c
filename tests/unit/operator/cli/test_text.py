"""What people see, as files: `python -m tests.unit.operator.cli.test_text` writes them."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from mlflow_model_operator.cli.text import history_text, status_text
from mlflow_model_operator.cli.view import view
from mlflow_model_operator.kube import kinds
from tests.unit.operator.simulation.operator import ALIAS, World
from tests.unit.operator.simulation.test_rollouts import (
    broken_pod,
    control,
    go_on,
    promoted,
    world,
)
from tests.unit.operator.simulation.test_variants import given_three_versions

FOLDER = Path(__file__).parent / "golden"


def served() -> World:
    return world()


def direct() -> World:
    return world(has_gateway=False, rollout={"strategy": "direct"}, scaling={"minReplicas": 2})


def new() -> World:
    return World(has_gateway=True)


def held() -> World:
    given = world(scaling={"minReplicas": 2})
    given.registry.aliases[ALIAS] = "2"
    go_on(given)
    return given


def paused() -> World:
    given = held()
    go_on(given, 60.0)
    return given


def failed() -> World:
    given = world()
    given.registry.aliases[ALIAS] = "2"
    given.reconcile()
    given.cluster.create(kinds.POD, broken_pod(given.revision_of("2")))
    given.reconcile()
    return given


def undoing() -> World:
    given = world(rollout={"keepOld": "10m"})
    promoted(given, "2")
    control(given, "undo/1")
    return given


def undone() -> World:
    given = undoing()
    go_on(given)
    return given


def edited() -> World:
    given = served()
    given.spec({"scaling": {"minReplicas": 3}})
    return given


def variants() -> World:
    given, *_ = given_three_versions(sticky={})
    return given


WORLDS: dict[str, Callable[[], World]] = {
    each.__name__: each
    for each in (served, direct, new, held, paused, failed, undoing, undone, edited, variants)
}


def text(name: str) -> str:
    given = WORLDS[name]()
    resource = given.resource
    status = resource.get("status") or {}
    shown = status_text(view(resource, given.deployments.values()))
    stable = status.get("stable", {}).get("revision", "")
    return f"{shown}\n{history_text(status.get('history', ()), stable)}"


@pytest.mark.parametrize("name", WORLDS)
def test_a_rollout_as_people_see_it(name: str) -> None:
    assert text(name) == (FOLDER / f"{name}.txt").read_text()


def test_the_plugin_starts_with_the_standard_library_alone() -> None:
    program = (
        "import sys; import mlflow_model_operator.cli.main; "
        "print({name.partition('.')[0] for name in sys.modules} "
        "& {'pydantic', 'yaml', 'jinja2', 'kopf', 'kubernetes', 'mlflow', 'aiohttp'})"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.stdout == "set()\n", done.stderr


if __name__ == "__main__":
    for each in WORLDS:
        (FOLDER / f"{each}.txt").write_text(text(each))
