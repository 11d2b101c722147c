"""Canaries, variants, shadows, matches, cookies and steps, in every combination that is allowed."""

from __future__ import annotations

import json
from collections.abc import Iterator
from itertools import product
from typing import Any

import pytest

from mlflow_model_operator.kube import httproute, kinds
from mlflow_model_operator.rollout.progress import Verdict
from tests.unit.operator.simulation.cluster import KEY, Json
from tests.unit.operator.simulation.operator import ALIAS, ROUTING, World
from tests.unit.operator.simulation.test_matches import TESTER

MAX_STATUS_BYTES = 40_000
CHALLENGER = "models:/wine@challenger"
COOKIE = [{"cookie": {"name": "beta", "value": "yes"}}]
SPLITS: dict[str, Json] = {
    "nothing": {},
    "canary": {"canary": {"uri": "models:/wine/2", "weight": 10}},
    "testers": {"canary": {"uri": "models:/wine/2", "weight": 0, "match": [*TESTER, *COOKIE]}},
    "variants": {
        "variants": [
            {"name": "b", "uri": "models:/wine/2", "weight": 30, "match": TESTER},
            {"name": "c", "uri": "models:/wine/3", "weight": 70, "match": COOKIE},
        ]
    },
}
SHADOWS: dict[str, Json] = {
    "nothing": {},
    "shadow-2": {"shadow": {"uri": CHALLENGER}},
    "shadow-9": {"shadow": {"uri": "models:/wine/9"}},
}
SHADOW_STEPS = [{"shadow": {}, "hold": "1m"}, {"weight": 10, "hold": "1m"}]
STEPS: dict[str, Json] = {
    "nothing": {},
    "keep": {"keepOld": "2m"},
    "steps": {"steps": [{"pause": {"duration": "1m"}}, {"weight": 10, "hold": "1m"}]},
    "surge": {"surge": 25},
    "no-surge": {"surge": 0},
    "shadow-steps": {"steps": SHADOW_STEPS},
    "shadow-only": {"steps": [{"shadow": {}}], "analysis": {}},
    "matched-steps": {"steps": SHADOW_STEPS, "match": TESTER},
}


def combinations() -> Iterator[Any]:
    """What the API server accepts."""
    for has_gateway in (True, False):
        for split, shadow, steps in product(SPLITS, SHADOWS, STEPS):
            is_split, is_stepped = split != "nothing", steps not in ("nothing", "keep")
            is_shadowed, begins_with_shadow = shadow != "nothing", "shadow" in str(STEPS[steps])
            if (is_split and is_stepped) or (is_shadowed and begins_with_shadow):
                continue
            if not has_gateway and (
                split in ("testers", "variants")
                or steps == "matched-steps"
                or (is_shadowed and (is_split or is_stepped))
            ):
                continue
            spec = {**SPLITS[split], **SHADOWS[shadow], "rollout": STEPS[steps]}
            name = f"{split}-{shadow}-{steps}-{'gateway' if has_gateway else 'service'}"
            yield pytest.param(has_gateway, spec, id=name)


@pytest.mark.parametrize(("has_gateway", "spec"), list(combinations()))
@pytest.mark.parametrize("replicas", [1, 4])
def test_versions_come_and_go(has_gateway: bool, spec: Json, replicas: int) -> None:
    routing = {"routing": {**ROUTING, "sticky": {}}} if has_gateway else {}
    world = World(has_gateway=False, scaling={"minReplicas": replicas}, **spec, **routing)
    world.registry.aliases[CHALLENGER] = "2"
    end(world, "1")
    for version in ("2", "4", "2", "3"):
        world.registry.aliases[ALIAS] = version
        end(world, version)
    world.restart()
    end(world, "3")
    world.cluster.requests.clear()
    world.reconcile()
    assert [request for request in world.cluster.requests if request[:3] != "get"] == []
    world.spec(dict.fromkeys(("canary", "variants", "shadow", "rollout")))
    end(world, "3")
    assert len(world.deployments) == 1


def end(world: World, version: str) -> None:
    """All goes well until nothing changes; then there is what is asked for, and no more."""
    for _ in range(60):
        before = state(world)
        step(world)
        world.shadows.look()
        world.measurements.look(Verdict.GOOD)
        for name in list(world.deployments):
            world.set_ready(name)
        world.data_plane.gateway_looks("True")
        world.now += 70.0
        step(world)
        if state(world) == before and world.status["rollout"]["phase"] == "Stable":
            break
    else:
        raise AssertionError(f"it never settles: {world.status['rollout']}")
    check_end(world, version)


def state(world: World) -> str:
    """All objects, but for what tells only how often they were looked at."""
    objects = json.loads(json.dumps(list(world.cluster.objects.values())))
    for obj in objects:
        obj["metadata"].pop("resourceVersion")
        obj.get("status", {}).get("shadow", {}).pop("checkedAt", None)
    return json.dumps(objects)


def step(world: World) -> None:
    answering = {name for name in world.deployments if world.data_plane.ready(name)}
    world.reconcile()
    shares = {share["revision"]: share["weight"] for share in world.status["traffic"]}
    assert sum(shares.values()) == 100
    assert world.status.get("shadow", {}).get("revision") not in shares
    assert len(json.dumps(world.status)) < MAX_STATUS_BYTES
    route = world.cluster.live(kinds.ROUTE).get(KEY.name)
    for rule in route["spec"]["rules"] if route else ():
        weights = httproute.listed_weights({"spec": {"rules": [rule]}})
        assert sum(weights.values()) == 100
        assert set(weights) <= set(world.cluster.live(kinds.SERVICE))
        if answering & set(world.deployments):
            assert {name for name, weight in weights.items() if weight > 0} <= answering


def check_end(world: World, version: str) -> None:
    status = world.status
    assert status["stable"]["modelVersion"] == version
    assert world.condition("Ready") == ("True", "Ready"), world.message("Ready")
    roles = {status[role]["revision"] for role in ("stable", "canary", "shadow") if role in status}
    roles |= {entry["revision"] for entry in status.get("variants", ())}
    assert set(world.deployments) == roles
    assert set(world.cluster.live(kinds.SERVICE)) <= roles | {KEY.name}
    assert bool(world.cluster.live(kinds.CONFIG_MAP)) == ("shadow" in status)
    assert "draining" not in status
