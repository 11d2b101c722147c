"""Which Docker engine is used, and what it is told of this machine."""

from __future__ import annotations

import pytest

from dev.cluster import engine
from dev.cluster.engine import Engine, bounds_out_resources, ensure_engine
from dev.cluster.errors import ClusterError
from dev.cluster.settings import read_settings


class Machine:
    """A machine without an engine; installing the package starts one where systemd runs."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, *, systemd: bool, root: bool) -> None:
        self.at_hand = False
        self.started_ours = False
        self._systemd = systemd
        monkeypatch.setattr(engine, "find_engine", self._find)
        monkeypatch.setattr(engine, "need_packages", self._install)
        monkeypatch.setattr(engine, "_start", self._start)
        monkeypatch.setattr("os.geteuid", lambda: 0 if root else 1000)

    def _find(self) -> Engine | None:
        return Engine(ours=False) if self.at_hand else None

    def _install(self, wanted: object) -> None:
        self.at_hand = self._systemd

    def _start(self, settings: object) -> None:
        self.started_ours = True


def test_an_engine_that_its_package_started_is_the_one_used(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    machine = Machine(monkeypatch, systemd=True, root=True)

    assert ensure_engine(read_settings({})) == Engine(ours=False)
    assert not machine.started_ours


def test_where_no_package_starts_one_it_is_ours(monkeypatch: pytest.MonkeyPatch) -> None:
    machine = Machine(monkeypatch, systemd=False, root=True)

    assert ensure_engine(read_settings({})) == Engine(ours=True)
    assert machine.started_ours


def test_who_may_start_no_engine_is_told_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    Machine(monkeypatch, systemd=True, root=False)

    with pytest.raises(ClusterError, match="join the group `docker`"):
        ensure_engine(read_settings({}))


@pytest.mark.parametrize(
    ("effective", "bounding", "lacks"),
    [
        ("000001ffffffffff", "000001ffffffffff", False),
        ("000001fffeffffff", "000001fffeffffff", True),
        ("0000000000000000", "000001ffffffffff", False),  # not root, but an engine may have it
        ("0000000000000000", "000001fffeffffff", True),
    ],
)
def test_a_capability_is_lacking_where_even_root_can_not_have_it(
    effective: str, bounding: str, lacks: bool
) -> None:
    status = f"Name:\tpython3\nCapEff:\t{effective}\nCapBnd:\t{bounding}\nCapAmb:\t0\n"

    assert bounds_out_resources(status) is lacks
