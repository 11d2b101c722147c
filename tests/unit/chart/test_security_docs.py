"""docs/security.md: what it tells people to apply or to set is right."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import kubernetes_validate
import pytest
import yaml

from tests.integration.control_plane import REPOSITORY
from tests.unit.chart.rendering import Helm, of_kind
from tests.unit.chart.test_values import PATHS

TEXT = (REPOSITORY / "docs" / "security.md").read_text(encoding="utf-8")
BLOCKS = [yaml.safe_load(block) for block in re.findall(r"```yaml\n(.*?)```", TEXT, re.DOTALL)]
POLICIES = [block for block in BLOCKS if block.get("kind") == "NetworkPolicy"]
VALUES = [block for block in BLOCKS if "kind" not in block]


@pytest.mark.parametrize("policy", POLICIES, ids=lambda policy: policy["metadata"]["name"])
def test_network_policies_are_valid(policy: dict[str, Any]) -> None:
    kubernetes_validate.validate(policy, kubernetes_validate.latest_version(), strict=True)


def test_network_policies_are_for_the_pods_that_the_charts_are_for(helm: Helm) -> None:
    values = {"watchNamespaces": ["a"], "modelNetworkPolicy": {"enabled": True}}
    (ours,) = of_kind(helm.render(**values), "NetworkPolicy")

    assert len(POLICIES) == 2
    for policy in POLICIES:
        assert policy["spec"]["podSelector"] == ours["spec"]["podSelector"]
    # Besides DNS, which is an address like any other there.
    assert POLICIES[0]["spec"]["egress"] == ours["spec"]["egress"][1:]


@pytest.mark.parametrize("values", VALUES, ids=lambda values: next(iter(values)))
def test_the_chart_takes_the_values(helm: Helm, values: dict[str, Any]) -> None:
    assert helm.render(**values)


def named_values() -> Iterator[str]:
    """Words in code style that look like a value of the chart."""
    tops = {path.partition(".")[0] for path in PATHS}
    for word in re.findall(r"`([a-zA-Z]+(?:\.[a-zA-Z]+)*)(?:\.\*|:[^`]*)?`", TEXT):
        if word.partition(".")[0] in tops - {"resources"}:
            yield word


def test_every_value_that_it_names_is_there() -> None:
    names = set(named_values())

    assert {"policy.enabled", "networkPolicy.egress", "hostnames"} <= names
    for name in names:
        assert any(path == name or path.startswith(f"{name}.") for path in PATHS), name


def test_every_rule_of_the_policy_is_in_it() -> None:
    rules = {".".join(path.split(".")[:2]) for path in PATHS if path.startswith("policy.")}
    assert {rule for rule in rules if f"`{rule}" not in TEXT} == set()
