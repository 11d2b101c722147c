"""The status as a whole: kept times, smallest patches, events that are told once."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from mlflow_model_operator.domain import ResolutionError
from mlflow_model_operator.observe import invalid_status, notices, status, status_patch
from mlflow_model_operator.rollout import Phase
from tests.unit.observe.pods import V3, V4, Json, decision, deployment, resource, situation


def merged(old: Any, patch: Any) -> Any:
    """RFC 7396, to the letter."""
    if not isinstance(patch, dict):
        return patch
    result = dict(old) if isinstance(old, dict) else {}
    for name, value in patch.items():
        if value is None:
            result.pop(name, None)
        else:
            result[name] = merged(result.get(name), value)
    return result


values = st.recursive(
    st.booleans() | st.integers() | st.text(max_size=5) | st.lists(st.integers(), max_size=3),
    lambda inner: st.dictionaries(st.text(min_size=1, max_size=3), inner, max_size=4),
    max_leaves=10,
)
statuses = st.dictionaries(st.sampled_from("abcdef"), values, max_size=5)


@given(statuses, statuses)
def test_a_patch_makes_the_old_status_the_new_one(old: Json, new: Json) -> None:
    patch = status_patch(old, new)
    assert merged(old, patch or {}) == new


@given(statuses)
def test_what_is_the_same_needs_no_patch(old: Json) -> None:
    assert status_patch(old, dict(old)) is None


def test_the_same_situation_later_gives_the_same_status() -> None:
    first = status(situation(decision(), deployment(V3, 1)))
    later = situation(decision(), deployment(V3, 1), of=resource(status=first))
    again = status(later)
    assert status_patch(first, again) is None


def test_a_changed_condition_gets_a_new_time_and_others_keep_theirs() -> None:
    old = status(situation(decision(phase=Phase.STARTING), deployment(V3)))
    for one in old["conditions"]:
        one["lastTransitionTime"] = "2020-01-01T00:00:00Z"
    new = status(situation(decision(), deployment(V3, 1), of=resource(status=old)))
    times = {one["type"]: one["lastTransitionTime"] for one in new["conditions"]}
    assert times["Available"] == "2023-11-14T22:13:20Z"
    assert times["ModelResolved"] == "2020-01-01T00:00:00Z"


def test_the_status_holds_what_a_restarted_operator_needs() -> None:
    new = status(situation(decision(V3, target=V4, phase=Phase.UPDATING), deployment(V3, 1)))
    assert new["observedGeneration"] == 7
    assert new["stable"] == {
        "revision": "wine-3",
        "modelVersion": "3",
        "modelUri": "models:/wine/3",
        "requestedUri": "models:/wine@champion",
        "trackingUri": "http://m",
        "readyReplicas": 1,
    }
    assert new["traffic"] == [{"revision": "wine-3", "modelVersion": "3", "weight": 100}]
    assert new["rollout"]["revision"] == "wine-4"


def test_a_resource_that_can_not_be_read_keeps_what_was_decided() -> None:
    raw = {"metadata": {"generation": 2}, "status": {"stable": {"revision": "wine-3"}}}
    new = invalid_status(raw, "spec.model.uri: write …", now=0.0)
    assert new["stable"] == {"revision": "wine-3"}
    assert new["conditions"][0]["reason"] == "InvalidSpec"


def test_a_good_start_is_told_once() -> None:
    starting = situation(decision(phase=Phase.STARTING), deployment(V3))
    first = status(starting)
    assert notices({}, first, starting) == []
    serving = situation(decision(), deployment(V3, 1))
    second = status(serving)
    assert [one.reason for one in notices(first, second, serving)] == ["Serving"]
    assert notices(second, status(serving), serving) == []


def test_trouble_is_told_once_though_several_conditions_share_it() -> None:
    broken = situation(None, resolution=ResolutionError("ModelNotFound", "no"))
    new = status(broken)
    told = notices({}, new, broken)
    assert [(one.reason, one.warning) for one in told] == [("ModelNotFound", True)]
    assert notices(new, new, broken) == []


def test_a_new_version_and_its_takeover_are_told() -> None:
    old = status(situation(decision(), deployment(V3, 1)))
    updating = situation(
        decision(V3, target=V4, phase=Phase.UPDATING), deployment(V3, 1), deployment(V4)
    )
    middle = status(updating)
    assert [one.reason for one in notices(old, middle, updating)] == ["NewRevision"]
    done = situation(
        decision(V4, phase=Phase.DRAINING, draining={"wine-3": 1.0}), deployment(V4, 1)
    )
    assert [one.reason for one in notices(middle, status(done), done)] == ["TrafficMoved"]
