"""What counts as a difference between what we state and what is."""

from __future__ import annotations

import copy
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlflow_model_operator.plan.diff import needs_apply
from tests.golden.test_golden import CASES, objects

Json = dict[str, Any]


def spec(**fields: Any) -> Json:
    return {"metadata": {"name": "x"}, "spec": fields}


@pytest.mark.parametrize(
    ("desired", "live"),
    [
        (spec(a=1), spec(a=1, defaulted=True)),
        (spec(resources={"limits": {"cpu": "1000m"}}), spec(resources={"limits": {"cpu": "1"}})),
        (
            spec(resources={"limits": {"memory": "1Gi"}}),
            spec(resources={"limits": {"memory": "1024Mi"}}),
        ),
        (spec(annotations={}), spec()),
        (spec(value=""), spec()),
        (spec(flag=False), spec()),
        (spec(containers=[{"name": "a"}]), spec(containers=[{"name": "injected"}, {"name": "a"}])),
        (
            spec(env=[{"name": "A", "value": "1"}]),
            spec(env=[{"name": "B"}, {"name": "A", "value": "1"}]),
        ),
        (
            spec(ports=[{"port": 80, "protocol": "TCP"}]),
            spec(ports=[{"port": 80, "protocol": "UDP"}, {"port": 80, "protocol": "TCP"}]),
        ),
        (spec(target={"averageValue": "1000m"}), spec(target={"averageValue": "1"})),
        (spec(target={"value": "2e3"}), spec(target={"value": "2k"})),
        (spec(emptyDir={"sizeLimit": "1024Mi"}), spec(emptyDir={"sizeLimit": "1Gi"})),
    ],
)
def test_these_mean_the_same(desired: Json, live: Json) -> None:
    assert needs_apply(desired, live) is None


@pytest.mark.parametrize(
    ("desired", "live", "path"),
    [
        (spec(a=1), spec(a=2), "spec.a"),
        (spec(a=1), spec(), "spec.a"),
        (spec(a=1), spec(a="1"), "spec.a"),
        (spec(limits={"cpu": "1"}), spec(limits={"cpu": "2"}), "spec.limits.cpu"),
        (
            spec(containers=[{"name": "server", "image": "a"}]),
            spec(containers=[{"name": "server", "image": "b"}]),
            "spec.containers[server].image",
        ),
        (spec(containers=[{"name": "server"}]), spec(containers=[]), "spec.containers[server]"),
        (spec(args=["a"]), spec(args=["a", "b"]), "spec.args"),
        (
            spec(env=[{"name": "A", "value": "1"}]),
            spec(env=[{"name": "A", "value": "2"}]),
            "spec.env[A].value",
        ),
        (
            spec(env=[{"name": "A", "value": "1000m"}]),
            spec(env=[{"name": "A", "value": "1"}]),
            "spec.env[A].value",
        ),
        (spec(emptyDir={"sizeLimit": "1Gi"}), spec(emptyDir={}), "spec.emptyDir.sizeLimit"),
        (spec(selector={"a": "b"}), spec(selector={"a": "b", "c": "d"}), "spec.selector"),
    ],
)
def test_a_difference_is_named(desired: Json, live: Json, path: str) -> None:
    assert needs_apply(desired, live) == path


@pytest.mark.parametrize("case", CASES)
def test_an_applied_object_has_no_difference(case: str) -> None:
    for obj in objects(case):
        assert needs_apply(obj, copy.deepcopy(obj)) is None


@given(st.data())
def test_any_changed_leaf_is_a_difference(data: st.DataObject) -> None:
    case = data.draw(st.sampled_from(["full", "gateway-canary"]))
    obj = data.draw(st.sampled_from(objects(case)))
    live = copy.deepcopy(obj)
    holder, place = data.draw(st.sampled_from(list(leaves(live))))
    holder[place] = "something else"
    assert needs_apply(obj, live) is not None


def leaves(value: Any) -> Any:
    """All (container, key) pairs that hold a plain value which says something."""
    entries = value.items() if isinstance(value, dict) else enumerate(value)
    for place, item in list(entries):
        if isinstance(item, dict | list):
            if place not in ("apiVersion", "kind"):
                yield from leaves(item)
        elif place not in ("apiVersion", "kind", "uid") and item not in (None, "", False):
            yield value, place
