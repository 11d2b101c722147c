"""What is written back to the registry, as the status asks for it."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, cast

import pytest

from mlflow_model_operator.api.reasons import Reason
from mlflow_model_operator.api.registry_writes import WriteFailure, Writes, WriteState
from mlflow_model_operator.api.resource import Key
from mlflow_model_operator.kube import kinds
from mlflow_model_operator.registry import RegistryWriter
from mlflow_model_operator.settings import PolicySettings
from tests.unit.operator.simulation.cluster import KEY
from tests.unit.operator.simulation.operator import ALIAS, SETTINGS, World
from tests.unit.operator.simulation.test_rollouts import control, go_on

WRITE_BACK: Any = {"registry": {"writeBack": True}}
SET_ALIAS: Any = {"onSuccess": {"setAlias": "live"}}
STEPS: Any = {"steps": [{"weight": 10}, {"pause": {}}]}


class FakeWriter:
    """Takes requests, and is as far with them as tests say."""

    def __init__(self) -> None:
        self.writes: Writes | None = None
        self.progress = WriteState()

    def state(self, key: Key) -> WriteState:
        return self.progress

    def request(self, key: Key, writes: Writes) -> None:
        self.writes = writes

    def cancel(self, key: Key) -> None:
        self.writes = None

    def verdicts(self) -> dict[str, str]:
        assert self.writes is not None
        return {note.version: note.verdict for note in self.writes.notes}


class WritingWorld(World):
    """A world whose operator may write to the model wine, if `writable` says so."""

    def __init__(self, writable: tuple[str, ...] = ("wine",), **rollout: Any) -> None:
        self.writer = FakeWriter()
        self._writable = writable
        super().__init__(has_gateway=True, rollout=rollout)
        self.settle()

    def restart(self) -> None:
        self.settings = replace(SETTINGS, policy=PolicySettings(writable_models=self._writable))
        super().restart()
        self.reconciler.writer = cast(RegistryWriter, self.writer)

    def move(self, version: str) -> None:
        self.registry.aliases[ALIAS] = version
        self.reconcile()


def test_the_version_that_serves_is_noted_and_the_one_before_it_is_replaced() -> None:
    given = WritingWorld(**WRITE_BACK)
    assert given.writer.verdicts() == {"1": "Promoted"}
    first = given.writer.writes

    given.now += 100.0
    given.reconcile()
    assert given.writer.writes == first, "nothing but a change of verdict is written"

    given.move("2")
    given.settle()
    assert given.writer.verdicts() == {"1": "Replaced", "2": "Promoted"}
    given.restart()
    given.reconcile()
    assert given.writer.verdicts() == {"1": "Replaced", "2": "Promoted"}


def test_a_version_that_was_turned_back_is_noted_with_the_reason() -> None:
    given = WritingWorld(**WRITE_BACK, **STEPS)
    given.move("2")
    go_on(given)
    control(given, "abort/1")

    assert given.writer.verdicts() == {"1": "Promoted", "2": "Aborted"}
    assert given.writer.writes is not None
    (note,) = (note for note in given.writer.writes.notes if note.version == "2")
    assert note.reason == "RolloutAborted"
    assert "aborted" in note.message
    given.now += 500.0
    given.reconcile()
    assert note in given.writer.writes.notes


def test_a_version_that_another_one_takes_the_place_of() -> None:
    given = WritingWorld(**WRITE_BACK, **STEPS)
    given.move("2")
    go_on(given)
    given.move("3")

    assert given.writer.verdicts() == {"1": "Promoted", "2": "Superseded"}


def test_only_the_last_versions_are_remembered() -> None:
    given = WritingWorld(**WRITE_BACK)
    for version in range(2, 12):
        given.move(str(version))
        given.settle()

    assert given.writer.verdicts() == {
        "7": "Replaced",
        "8": "Replaced",
        "9": "Replaced",
        "10": "Replaced",
        "11": "Promoted",
    }


def test_a_resource_that_served_before_it_asked_for_it_has_the_time_of_its_promotion() -> None:
    given = WritingWorld()
    promoted_at = given.status["history"][-1]["at"]
    given.now += 5000.0

    given.spec({"rollout": WRITE_BACK})
    given.reconcile()

    assert given.writer.writes is not None
    assert given.writer.writes.notes[0].since == promoted_at


def test_without_the_field_nothing_is_written() -> None:
    given = WritingWorld()
    assert given.writer.writes is None
    assert given.condition("RegistryUpdated") == ("", "")
    assert "registry" not in given.status


@pytest.mark.parametrize("writable", [(), ("{namespace}-*",), ("beer",)])
def test_what_the_administrator_does_not_allow_is_not_written(writable: tuple[str, ...]) -> None:
    given = WritingWorld(writable, **WRITE_BACK, **SET_ALIAS)
    given.move("2")
    given.settle()

    assert given.writer.writes is None
    assert given.condition("RegistryUpdated") == ("False", "PolicyDenied")
    assert "policy.writableModels" in given.message("RegistryUpdated")
    assert given.condition("Ready") == ("True", "Ready")
    assert "registry" not in given.status


def test_a_model_that_served_before_and_may_not_be_written_to_gets_nothing() -> None:
    given = WritingWorld(("beer",), **WRITE_BACK, **SET_ALIAS)
    beer = "models:/beer@champion"
    given.registry.aliases[beer] = "7"

    given.spec({"model": {"uri": beer}})
    given.reconcile()

    assert "registry" in given.status, "it may write now, to beer"
    assert given.writer.writes == Writes(), "while wine still serves"


def test_another_tracking_server_is_not_written_to() -> None:
    given = WritingWorld(**WRITE_BACK)
    given.spec({"model": {"uri": ALIAS, "trackingUri": "http://other"}})
    given.reconcile()

    assert given.condition("RegistryUpdated") == ("False", "PolicyDenied")
    assert "its own tracking server" in given.message("RegistryUpdated")


def test_a_registry_that_may_only_be_read_is_a_note_and_the_model_is_served() -> None:
    given = WritingWorld(**WRITE_BACK)
    assert given.condition("RegistryUpdated") == ("Unknown", "RegistryWritePending")

    given.writer.progress = WriteState(failure=WriteFailure(Reason.REGISTRY_READ_ONLY, "no"))
    given.reconcile()
    assert given.condition("RegistryUpdated") == ("False", "RegistryReadOnly")
    assert given.condition("Ready") == ("True", "Ready")

    given.writer.progress = WriteState(done=given.writer.writes)
    given.reconcile()
    assert given.condition("RegistryUpdated") == ("True", "RegistryWritten")

    given.writer.progress = WriteState()  # the operator has restarted
    given.reconcile()
    assert given.condition("RegistryUpdated") == ("True", "RegistryWritten")


def test_an_alias_is_set_once_for_each_promotion() -> None:
    given = WritingWorld(**SET_ALIAS)
    assert given.writer.writes == Writes(), "the first version takes over from none"

    given.move("2")
    given.settle()
    assert given.writer.writes is not None and given.writer.writes.alias is not None
    change = given.writer.writes.alias
    assert (change.name, change.alias, change.version) == ("wine", "live", "2")
    given.restart()
    given.reconcile()
    assert given.writer.writes.alias == change, "it is asked for until it was set"

    given.writer.progress = WriteState(done=given.writer.writes, alias_set=change)
    given.reconcile()
    assert given.status["registry"]["alias"]["isSet"] is True
    given.writer.progress = WriteState()
    given.restart()
    for _ in range(3):
        given.now += 1000.0
        given.reconcile()
        assert given.writer.writes == Writes(), "and then left to people"

    given.move("3")
    given.settle()
    assert given.writer.writes.alias is not None
    assert given.writer.writes.alias.version == "3"


def test_a_version_that_was_turned_back_gets_no_alias() -> None:
    given = WritingWorld(**SET_ALIAS, **STEPS)
    given.move("2")
    go_on(given)
    control(given, "abort/1")

    assert given.writer.writes == Writes()


def test_another_pod_template_of_the_same_version_is_no_promotion() -> None:
    given = WritingWorld(**SET_ALIAS)
    given.spec({"server": {"env": [{"name": "A", "value": "b"}]}})
    given.settle()

    assert given.writer.writes == Writes()


def test_deleting_the_resource_ends_its_writes() -> None:
    given = WritingWorld(**WRITE_BACK)
    given.cluster.edit(
        kinds.RESOURCE,
        KEY.name,
        {"metadata": {"deletionTimestamp": "2026-01-01T00:00:00Z"}},
    )
    given.reconcile()

    assert given.writer.writes is None
