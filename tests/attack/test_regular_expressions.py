"""No regular expression of either package takes more than linear time, whatever text it meets."""

from __future__ import annotations

from pathlib import Path

import pytest

import mlflow_model_operator
import mlflow_model_server
from tests.attack.regular_expressions import Expression, expressions, is_superlinear

PACKAGES = [Path(package.__path__[0]) for package in (mlflow_model_operator, mlflow_model_server)]
ALL = [each for package in PACKAGES for each in expressions(package)]


@pytest.mark.parametrize("expression", ALL, ids=lambda each: each.place)
def test_its_time_is_linear(expression: Expression) -> None:
    found = is_superlinear(expression.pattern, expression.flags, is_anchored=expression.is_anchored)
    assert not found, f"{expression.pattern!r} takes more than linear time for {found}"


def test_patterns_are_collected() -> None:
    places = {each.place.partition(":")[0] for each in ALL}
    assert len(ALL) > 50
    assert "mlflow_model_operator.api.uri" in places
    assert "mlflow_model_server.runtime.termination" in places
    assert "mlflow_model_server.prepare.uv" in places


@pytest.mark.parametrize(
    ("pattern", "is_anchored"),
    [
        (r"(a+)+b", True),
        (r"(a|a)*b", True),
        (r"(a|b|ab)*c", True),
        (r"\w+\d+x", True),
        (r"[a-z]*[^/]*@", True),
        (r"[a-z]+x", False),
        (r"a.*b", False),
        (r"://[^?]+\?", False),
        (r"\s+$", False),
        (r"(?i)x[^y]*A[^y]*z", True),
        (b"a[^b]*c", False),
        (r"index \((?P<index>[^)\s]+)\) could .*\((401 \w+)\)", False),
    ],
)
def test_a_pattern_that_takes_longer_is_found(pattern: str | bytes, is_anchored: bool) -> None:
    assert is_superlinear(pattern, is_anchored=is_anchored)


@pytest.mark.parametrize(
    ("pattern", "is_anchored"),
    [
        (r"[a-z]+x", True),
        (r"a[^ab]*b", False),
        (r"[a-z]{1,40}x", False),
        (r"x(?:[^y:]|:(?!//))*y", True),
        (r"^ [+~] \w+", False),
    ],
)
def test_one_that_does_not_is_not(pattern: str, is_anchored: bool) -> None:
    assert not is_superlinear(pattern, is_anchored=is_anchored)
