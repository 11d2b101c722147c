"""What the memory limit allows to requests."""

from __future__ import annotations

from dataclasses import replace

import pytest

from mlflow_model_server.inference import limits
from mlflow_model_server.inference.limits import BytesBudget
from mlflow_model_server.responses import Rejected
from mlflow_model_server.settings import Settings

MIB, GIB = 2**20, 2**30


@pytest.mark.parametrize(
    ("memory", "body", "in_flight", "parsed"),
    [
        (128 * MIB, 1 * MIB, 16 * MIB, (32 * MIB, 24 * MIB)),
        (1 * GIB, 8 * MIB, 128 * MIB, (256 * MIB, 192 * MIB)),
        (2 * GIB, 16 * MIB, 256 * MIB, (512 * MIB, 384 * MIB)),
        (64 * GIB, 64 * MIB, 8 * GIB, (768 * MIB, 12 * GIB)),
    ],
)
def test_the_memory_limit_decides(
    memory: int, body: int, in_flight: int, parsed: tuple[int, int]
) -> None:
    settings = Settings()
    assert limits.max_body_bytes(settings, memory) == body
    assert limits.max_bytes_in_flight(settings, memory) == in_flight
    assert limits.parse_limits(settings, memory).memory == parsed[0]
    assert limits.memory_for_parsing(settings, memory) == parsed[1]
    assert limits.max_bytes_in_flight(replace(settings, workers=2), memory) == in_flight // 2


def test_settings_win_but_one_request_always_has_room() -> None:
    settings = replace(Settings(), max_body_bytes=50 * MIB, max_bytes_in_flight=10 * MIB)
    assert limits.max_body_bytes(settings, GIB) == 50 * MIB
    assert limits.max_bytes_in_flight(settings, GIB) == 50 * MIB


def test_requests_share_the_budget() -> None:
    budget = BytesBudget(100)
    one, other = budget.reservation(80), budget.reservation(80)
    one.grow(40)
    one.grow(60)
    one.grow(10)
    assert budget.used == 60
    with pytest.raises(Rejected) as refused:
        other.grow(41)
    assert (refused.value.error.status, refused.value.error.retry_after) == (503, 1)
    with pytest.raises(Rejected) as refused:
        other.grow(81)
    assert refused.value.error.status == 413
    other.grow(40)
    one.release()
    assert budget.used == 40
    other.hold()
    other.release()
    assert budget.used == 40, "a thread still has it"
    other.release()
    assert budget.used == 0
