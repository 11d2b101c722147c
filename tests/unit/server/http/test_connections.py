"""Clients that read no response, and those that are waited for with reason."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from mlflow_model_server.http.connections import Pace, make_room


class Connection:
    """What a Pace sees of one."""

    def __init__(self) -> None:
        self.moment = 0.0
        self.loop = SimpleNamespace(time=lambda: self.moment)
        self.in_message = self.in_head = False
        self.is_idle = True
        self.body_bytes = 0
        self.cycle: Any = None
        self.pipeline: list[Any] = []
        self.flow = SimpleNamespace(read_paused=False, write_paused=False)
        self.unsent = 0
        self.ended: list[str] = []
        self.transport = SimpleNamespace(
            is_closing=lambda: bool(self.ended),
            get_write_buffer_size=lambda: self.unsent,
            abort=lambda: self.ended.append("abort"),
            close=lambda: self.ended.append("close"),
        )
        self.timeout_keep_alive = 100.0
        self.timeout_keep_alive_task: Any = None
        self.pace = Pace(self)  # type: ignore[arg-type]

    def time_out(self) -> None:
        self.ended.append("time out")

    def refuse(self) -> None:
        self.ended.append("refuse")

    def lasts(self, seconds: float) -> bool:
        """Whether it is still there after so long."""
        for _ in range(int(seconds)):
            self.moment += 1
            self.pace.check(self.moment)
        return not self.ended


@pytest.fixture
def connection() -> Connection:
    return Connection()


def test_a_head_has_ten_seconds(connection: Connection) -> None:
    connection.in_message = connection.in_head = True
    assert connection.lasts(10)
    assert not connection.lasts(2)


def test_a_body_has_as_long_as_its_bytes_take(connection: Connection) -> None:
    connection.in_message, connection.is_idle = True, False
    connection.body_bytes = 100_000
    assert connection.lasts(110)
    assert not connection.lasts(2)


def test_a_request_behind_another_has_time_until_that_is_answered(connection: Connection) -> None:
    connection.in_message = connection.in_head = True
    connection.is_idle = False
    assert connection.lasts(1000)
    connection.is_idle = True
    assert connection.lasts(10)
    assert not connection.lasts(2)


def test_nobody_waits_for_a_client_that_the_server_does_not_read(connection: Connection) -> None:
    connection.in_message, connection.is_idle = True, False
    connection.flow.read_paused = True
    assert connection.lasts(1000)


def test_a_connection_that_was_used_may_be_idle(connection: Connection) -> None:
    connection.cycle = object()
    assert connection.lasts(1000)
    connection.cycle = None
    assert not connection.lasts(1)


def test_a_client_that_does_not_read_is_cut_off(connection: Connection) -> None:
    connection.cycle, connection.unsent = object(), 1_000_000
    connection.flow.write_paused = True
    assert connection.lasts(30)
    assert not connection.lasts(3)
    assert connection.ended == ["abort"]


def test_a_client_that_reads_at_a_pace_is_not(connection: Connection) -> None:
    connection.cycle, connection.unsent = object(), 1_000_000
    connection.flow.write_paused = True
    for _ in range(200):
        connection.unsent -= 2_000
        assert connection.lasts(1)


def test_the_connection_that_has_been_idle_for_longest_makes_room() -> None:
    connections = [Connection() for _ in range(4)]
    for number, connection in enumerate(connections):
        connection.timeout_keep_alive_task = SimpleNamespace(when=lambda n=number: 200.0 - n)
    connections[3].is_idle = False
    new = Connection()
    make_room({*connections, new}, new)  # type: ignore[arg-type]
    assert [one.ended for one in connections] == [[], [], ["close"], []]
    assert not new.ended


def test_where_all_are_in_use_a_new_one_is_refused() -> None:
    busy, new = Connection(), Connection()
    busy.is_idle = False
    make_room({busy, new}, new)  # type: ignore[arg-type]
    assert (busy.ended, new.ended) == ([], ["refuse"])
