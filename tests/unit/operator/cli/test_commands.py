"""The commands against the real reconciler on a cluster in memory."""

from __future__ import annotations

import json
from typing import Any

import pytest
import yaml

from mlflow_model_operator.cli import commands
from mlflow_model_operator.cli.commands import Watch
from mlflow_model_operator.cli.controls import PHASES, WORDS, Control, outcome, refusal
from mlflow_model_operator.cli.kubectl import CommandError
from mlflow_model_operator.cli.text import WAITS
from mlflow_model_operator.rollout import Phase
from mlflow_model_operator.rollout.exchange import exchange
from mlflow_model_operator.rollout.progress import Action, Cause, parse_control
from tests.unit.operator.cli.cluster import FakeKubectl, Screen
from tests.unit.operator.simulation.operator import ALIAS, World
from tests.unit.operator.simulation.test_rollouts import go_on, promoted, rollout, weights, world


def act(given: World, word: str, version: str = "") -> tuple[int, str]:
    """The exit status of a control, and what it says."""
    screen = Screen(given)
    asked = Control(word, version)
    status = commands.control(FakeKubectl(given), "wine", asked, 30.0, screen.terminal)
    return status, screen.out.getvalue() + screen.err.getvalue()


def refused(given: World, word: str, version: str = "") -> str:
    before = given.resource
    with pytest.raises(CommandError) as caught:
        act(given, word, version)
    assert given.resource == before
    return str(caught.value)


def test_a_rollout_is_paused_resumed_and_promoted() -> None:
    given = world()
    given.registry.aliases[ALIAS] = "2"
    go_on(given)
    assert act(given, "pause") == (0, "wine is paused: version 2 stays at 10 %\n")
    assert "is Paused. To continue: kubectl mmd resume wine" in refused(given, "pause")
    assert act(given, "resume") == (0, "wine continues (Progressing), and waits for Hold\n")
    assert act(given, "promote") == (0, "Version 2 serves\n")  # its pods are ready
    go_on(given, 10.0)
    assert given.status["stable"]["modelVersion"] == "2"
    assert refused(given, "promote").startswith("There is no rollout to promote: wine is ")


def test_a_promoted_exchange_of_pods_says_what_sets_its_pace() -> None:
    given = world(rollout={"surge": 25}, scaling={"minReplicas": 4})
    given.registry.aliases[ALIAS] = "2"
    given.reconcile()
    act(given, "pause")
    text = "Version 2 takes over as fast as spec.rollout.surge allows, and waits for Pods\n"
    assert act(given, "promote") == (0, text)


@pytest.mark.parametrize("surge", [0, 1, 25, 34, 50, 51, 99, 100])
@pytest.mark.parametrize("replicas", [1, 2, 3, 4])
def test_the_pace_is_that_of_the_operator(surge: int, replicas: int) -> None:
    given = world(rollout={"surge": surge}, scaling={"minReplicas": replicas})
    given.registry.aliases[ALIAS] = "2"
    given.reconcile()
    resource = {"rollout": {"phase": "Preparing", "stableReplicas": replicas}}
    after = given.resource | {"status": resource | {"target": {"modelVersion": "2"}}}
    said = outcome(Control("promote"), given.resource, after).text
    assert ("spec.rollout.surge" in said) == (exchange(surge, replicas) is not None)


def test_an_aborted_version_is_tried_again() -> None:
    given = world()
    given.registry.aliases[ALIAS] = "2"
    go_on(given)
    assert act(given, "abort") == (0, "wine is Failed: version 1 serves\n")
    assert weights(given) == {"1": 100}
    assert "To try the version again: kubectl mmd retry wine" in refused(given, "abort")
    status, text = act(given, "retry")
    assert (status, "Version 2 is tried again" in text) == (0, True)
    assert rollout(given)["phase"] in ("Preparing", "Progressing")


def test_an_undo_ends_when_the_earlier_version_serves() -> None:
    given = world(has_gateway=False, rollout={"keepOld": "1h"})
    promoted(given, "2")
    status, text = act(given, "undo")
    assert status == 0
    assert text.startswith("Version 1 serves again. Version 2 is not tried again automatically")
    assert "There is nothing to go back to" in refused(given, "undo")
    assert "was not promoted before" in refused(promoted_twice(), "undo", "9")


def promoted_twice() -> World:
    given = world(has_gateway=False, rollout={"keepOld": "1h"})
    promoted(given, "2")
    promoted(given, "3")
    return given


def test_an_undo_leads_to_the_version_that_is_named() -> None:
    given = promoted_twice()
    assert "Version 3 serves now: write one of 2, 1" in refused(given, "undo", "3")
    status, text = act(given, "undo", "1")
    assert (status, text.startswith("Version 1 serves again")) == (0, True)


def test_an_undo_that_takes_longer_says_what_it_waits_for() -> None:
    given = world(rollout={"keepOld": "1h"})
    promoted(given, "2")
    status, text = act(given, "undo")
    assert status == 0
    assert text.startswith("wine goes back to version 1, and waits for Route. To watch it")
    assert "To cancel the undo: kubectl mmd abort wine" in refused(given, "undo")
    assert act(given, "abort")[0] == 0
    assert given.status["stable"]["modelVersion"] == "2"


def test_an_undo_mid_rollout_turns_the_new_version_back() -> None:
    given = world()
    given.registry.aliases[ALIAS] = "2"
    go_on(given)
    assert "kubectl mmd abort wine" in refused(given, "undo", "1")
    assert act(given, "undo") == (0, "wine is Failed: version 1 serves\n")


def test_an_operator_that_does_not_run_is_not_waited_for_without_end() -> None:
    given = world()
    given.registry.aliases[ALIAS] = "2"
    go_on(given)
    screen = Screen(given, runs=False)
    with pytest.raises(CommandError, match=r"The operator has not read .*pause/.* within 5 s"):
        commands.control(FakeKubectl(given), "wine", Control("pause"), 5.0, screen.terminal)


def test_a_watch_shows_each_change_once_and_ends_with_the_rollout() -> None:
    given = world(rollout={"steps": [{"weight": 10}]})
    given.registry.aliases[ALIAS] = "2"
    given.reconcile()
    screen = Screen(given)
    screen.on_sleep = [lambda: None, *[lambda: go_on(given, 30.0)] * 4]
    how = Watch(interval=1.0, timeout=60.0, until_done=True)
    assert commands.watch(FakeKubectl(given), "wine", "", how, screen.terminal) == 0
    frames = screen.out.getvalue().split("\nName:")
    assert 2 <= len(frames) <= 5
    assert "\x1b" not in screen.out.getvalue()
    assert "Stable" in frames[-1]


def test_a_watch_fails_with_the_rollout() -> None:
    given = world()
    given.registry.aliases[ALIAS] = "2"
    go_on(given)
    act(given, "abort")
    screen = Screen(given, is_terminal=True)
    how = Watch(interval=1.0, timeout=0.0, until_done=True)
    assert commands.watch(FakeKubectl(given), "wine", "", how, screen.terminal) == 1
    assert screen.out.getvalue().startswith(commands.CLEAR_SCREEN)


def test_a_watch_ends_when_its_time_is_over() -> None:
    given = world()
    screen = Screen(given)
    how = Watch(interval=1.0, timeout=3.0, until_done=False)
    assert commands.watch(FakeKubectl(given), "wine", "json", how, screen.terminal) == 0
    assert json.loads(screen.out.getvalue())["rollout"]["phase"] == "Stable"


def test_output_for_programs() -> None:
    given = world()
    for output, load in (("json", json.loads), ("yaml", yaml.safe_load)):
        screen = Screen(given)
        assert commands.status(FakeKubectl(given), "wine", output, screen.terminal) == 0
        seen: dict[str, Any] = load(screen.out.getvalue())
        assert [revision["role"] for revision in seen["revisions"]] == ["stable"]
        assert [step["weight"] for step in seen["rollout"]["steps"]] == [10, 10, 50]
        screen = Screen(given)
        commands.history(FakeKubectl(given), "wine", output, screen.terminal)
        assert [entry["verdict"] for entry in load(screen.out.getvalue())] == ["Promoted"]


@pytest.mark.parametrize("word", WORDS)
@pytest.mark.parametrize("phase", ["", *Phase])
def test_what_does_not_apply_is_refused_with_a_sentence(word: str, phase: str) -> None:
    given = promoted_twice().resource
    rollout = {**given["status"]["rollout"], "phase": phase}
    reason = refusal(Control(word), {**given, "status": {**given["status"], "rollout": rollout}})
    if phase in PHASES[word]:
        assert reason is None
    else:
        assert reason is not None and "wine" in reason


def test_the_words_are_those_of_the_operator() -> None:
    assert set(WORDS) == set(Action)
    assert set(WAITS) == set(Cause)
    assert {phase for phases in PHASES.values() for phase in phases} <= set(Phase)
    for control in (Control("pause"), Control("undo", "3")):
        parsed = parse_control(control.value("1"))
        assert parsed is not None
        assert (parsed.action, parsed.version) == (control.word, control.version)


def test_a_rollout_is_resumed_without_a_verdict() -> None:
    given = promoted_twice().resource
    for cause, is_refused in (("Analysis", False), ("Hold", True)):
        rollout = {**given["status"]["rollout"], "phase": "Progressing", "waitingFor": cause}
        resource = {**given, "status": {**given["status"], "rollout": rollout}}
        assert (refusal(Control("resume"), resource) is not None) == is_refused
