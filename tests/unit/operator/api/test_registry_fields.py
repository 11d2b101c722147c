"""Fields about the registry and the calendar that only the operator can check."""

from __future__ import annotations

from typing import Any

import pytest

from mlflow_model_operator.api.resource import InvalidResource, MLflowModelDeployment
from mlflow_model_operator.api.spec import Rollout

FREEZE = {"cron": "0 18 * * FRI", "duration": "62h"}


def parsed(**rollout: Any) -> Rollout:
    spec = {"model": {"uri": "models:/wine@champion"}, "rollout": rollout}
    metadata = {"name": "wine", "namespace": "team-a", "uid": "u", "generation": 1}
    return MLflowModelDeployment.parse({"metadata": metadata, "spec": spec}).spec.rollout


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"timeZone": "Europe/Atlantis"}, "freeze[0].timeZone: 'Europe/Atlantis' is not a time"),
        ({"timeZone": "../../etc/passwd"}, "is not a time zone: write one like Europe/Berlin"),
        ({"timeZone": "Europe"}, "is not a time zone"),
        ({"cron": "0 25 * * *"}, "freeze[0].cron: '0 25 * * *' is not a time: '25' is not a"),
        ({"cron": "0 0 31 6 *"}, "is a day that never comes: write minute, hour"),
        ({"duration": "2d"}, "freeze[0].duration: '2d' is not a duration"),
    ],
)
def test_a_freeze_window_that_cannot_be_used(change: dict[str, str], says: str) -> None:
    with pytest.raises(InvalidResource) as refused:
        parsed(freeze=[{**FREEZE, **change}])
    assert says in str(refused.value)


def test_the_defaults() -> None:
    rollout = parsed(freeze=[FREEZE])

    assert rollout.freeze[0].time_zone == "UTC"
    assert (rollout.flap_protection.limit, rollout.flap_protection.window_text) == (10, "3m")
    assert not rollout.writes_registry
    assert parsed(flapProtection={"moves": 0}).flap_protection.limit == 0


@pytest.mark.parametrize(
    "rollout", [{"registry": {"writeBack": True}}, {"onSuccess": {"setAlias": "champion"}}]
)
def test_either_of_them_writes_to_the_registry(rollout: dict[str, Any]) -> None:
    assert parsed(**rollout).writes_registry
