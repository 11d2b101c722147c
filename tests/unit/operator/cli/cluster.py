"""kubectl on the cluster in memory, where the real reconciler is at work."""

from __future__ import annotations

import io
from typing import Any

from mlflow_model_operator.cli.commands import Terminal
from mlflow_model_operator.cli.kubectl import Kubectl, MissingResource
from mlflow_model_operator.kube import kinds
from tests.unit.operator.simulation.cluster import KEY
from tests.unit.operator.simulation.operator import World

Json = dict[str, Any]


class FakeKubectl(Kubectl):
    """Reads and annotates the one resource of a simulated world."""

    def __init__(self, world: World) -> None:
        super().__init__()
        self.world = world

    def resource(self, name: str) -> Json:
        if name != KEY.name:
            raise MissingResource(f'Error from server (NotFound): "{name}" not found')
        return self.world.resource

    def objects(self, kinds: str, *selection: str) -> list[Json]:
        assert kinds == "deployments"
        return list(self.world.deployments.values())

    def annotate(self, name: str, key: str, value: str) -> None:
        patch = {"metadata": {"annotations": {key: value}}}
        self.world.cluster.edit(kinds.RESOURCE, name, patch)


class Screen:
    """A terminal that keeps what is written; while a command waits, the operator works."""

    def __init__(self, world: World, *, is_terminal: bool = False, runs: bool = True) -> None:
        self.out, self.err = io.StringIO(), io.StringIO()
        self.out.isatty = lambda: is_terminal  # type: ignore[method-assign]
        self._world, self._runs, self._now = world, runs, 0.0
        self.on_sleep: list[Any] = []
        self.terminal = Terminal(self.out, self.err, self._sleep, lambda: self._now)

    def _sleep(self, seconds: float) -> None:
        self._now += seconds
        if self.on_sleep:
            self.on_sleep.pop(0)()
        if self._runs:
            self._world.reconcile()
