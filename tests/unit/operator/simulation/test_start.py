"""When a rollout starts: after a freeze window, and not while a model URI flaps."""

from __future__ import annotations

import asyncio
from typing import Any

from mlflow_model_operator.api import names
from mlflow_model_operator.kube import kinds
from mlflow_model_operator.kube.objects import format_time, parse_time
from tests.unit.operator.simulation.cluster import KEY
from tests.unit.operator.simulation.operator import ALIAS, World

# The simulation begins on 2023-11-14 at 22:13.
FREEZE = [{"cron": "0 22 * * *", "duration": "8h"}]
MORNING = "2023-11-15T06:00:00Z"
HOUR = 3600.0


def world(**rollout: Any) -> World:
    """Version 1 is served."""
    given = World(has_gateway=True, rollout=rollout)
    given.settle()
    given.now = 1_700_000_000.0
    return given


def move(given: World, version: str) -> None:
    given.registry.aliases[ALIAS] = version
    given.reconcile()


def go_on(given: World) -> None:
    """Until the version is served and the one before it is gone."""
    for _ in range(3):
        for name in list(given.deployments):
            given.set_ready(name)
        given.data_plane.gateway_looks("True")
        given.now += 6.0
        given.reconcile()


def serving(given: World) -> str:
    return str(given.status["stable"]["modelVersion"])


def control(given: World, value: str) -> None:
    annotations = {names.ROLLOUT: value}
    given.cluster.edit(kinds.RESOURCE, KEY.name, {"metadata": {"annotations": annotations}})
    given.reconcile()


def test_in_a_freeze_window_a_new_version_waits_and_the_status_says_until_when() -> None:
    given = world(freeze=FREEZE)

    move(given, "2")

    assert len(given.deployments) == 1
    assert given.condition("Progressing") == ("False", "Frozen")
    assert f"waits until {MORNING}" in given.message("Progressing")
    assert given.condition("Ready") == ("True", "Frozen")
    postponed = given.status["postponed"]
    assert (postponed["modelVersion"], postponed["reason"]) == ("2", "Frozen")
    assert postponed["until"] == MORNING

    given.now += 8 * HOUR
    given.reconcile()
    given.settle()
    assert serving(given) == "2"
    assert "postponed" not in given.status
    assert given.status["history"][-1]["trigger"] == "Registry"


def test_a_change_of_the_pods_waits_too_and_keeps_its_trigger() -> None:
    given = world(freeze=FREEZE)
    before = list(given.deployments)

    given.spec({"server": {"env": [{"name": "A", "value": "b"}]}})
    given.reconcile()
    assert list(given.deployments) == before
    given.restart()
    given.now += 8 * HOUR
    given.settle()

    assert list(given.deployments) != before
    assert given.status["history"][-1]["trigger"] == "Spec"


def test_a_rollout_that_runs_goes_on_in_a_window() -> None:
    given = world(freeze=[{"cron": "15 22 * * *", "duration": "8h"}])
    move(given, "2")
    given.now += 300.0

    go_on(given)

    assert serving(given) == "2"


def test_another_version_in_a_window_waits_and_the_running_one_is_dropped() -> None:
    given = world(
        freeze=[{"cron": "15 22 * * *", "duration": "8h"}], steps=[{"weight": 10}, {"pause": {}}]
    )
    move(given, "2")
    go_on(given)
    given.now += 300.0

    move(given, "3")

    assert [share["modelVersion"] for share in given.status["traffic"]] == ["1"]
    assert given.status["postponed"]["modelVersion"] == "3"
    assert given.status["history"][-1]["verdict"] == "Superseded"


def test_a_person_may_start_it_all_the_same() -> None:
    given = world(freeze=FREEZE)
    move(given, "2")

    control(given, "resume/1")
    given.restart()
    go_on(given)

    assert serving(given) == "2"


def test_what_may_help_does_not_wait() -> None:
    given = world(freeze=FREEZE)
    given.set_ready(given.revision_of("1"), 0)

    move(given, "2")
    given.set_ready(given.revision_of("2"))
    given.reconcile()

    assert serving(given) == "2"


def test_going_back_to_pods_that_still_run_does_not_wait() -> None:
    given = world(freeze=[{"cron": "15 22 * * *", "duration": "8h"}], keepOld="10m")
    move(given, "2")
    go_on(given)
    assert serving(given) == "2"
    given.now += 200.0

    move(given, "1")
    go_on(given)

    assert serving(given) == "1"


def test_an_alias_that_goes_to_and_fro_is_waited_for() -> None:
    given = world(flapProtection={"moves": 3, "window": "5m"})
    for version in ("2", "1", "2"):
        move(given, version)
        go_on(given)
        assert serving(given) == version
    third = given.status["history"][-3]["at"]

    move(given, "1")
    go_on(given)

    assert serving(given) == "2"
    assert given.condition("Progressing") == ("False", "Flapping")
    assert "has caused 3 rollouts within 5m" in given.message("Progressing")
    assert given.status["postponed"]["until"] == format_time((parse_time(third) or 0.0) + 300.0)
    given.now += 300.0
    given.reconcile()
    go_on(given)
    assert serving(given) == "1"


def test_the_default_does_not_hinder_normal_use() -> None:
    given = world()
    for version in ("2", "3", "1", "2", "3"):
        move(given, version)
        go_on(given)
        assert serving(given) == version


def test_what_a_person_writes_into_the_spec_does_not_flap() -> None:
    given = world(flapProtection={"moves": 1, "window": "1h"})
    for version in ("2", "3"):
        given.spec({"model": {"uri": f"models:/wine/{version}"}})
        given.reconcile()
        go_on(given)
        assert serving(given) == version


def test_a_version_takes_over_when_the_uri_has_resolved_to_it_for_so_long() -> None:
    given = world(debounce="1m")
    move(given, "2")
    assert given.condition("Progressing") == ("False", "Debouncing")
    given.now += 50.0
    move(given, "3")
    given.now += 50.0
    given.restart()
    given.reconcile()
    assert given.status["postponed"]["modelVersion"] == "3"
    assert len(given.deployments) == 1

    given.now += 11.0
    given.reconcile()
    go_on(given)

    assert serving(given) == "3"


def test_the_operator_looks_again_when_the_window_ends() -> None:
    given = world(freeze=FREEZE)
    move(given, "2")

    after = asyncio.run(given.reconciler.reconcile(KEY))

    assert after is not None and format_time(given.now + after) == MORNING
