"""Quantities and durations mean what Kubernetes and Gateway API say."""

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st
from kubernetes.utils import parse_quantity

from mlflow_model_operator.api import quantity

SUFFIXES = ["", "n", "u", "m", "k", "M", "G", "T", "P", "E", "Ki", "Mi", "Gi", "Ti", "Pi", "Ei"]


@pytest.mark.parametrize(
    ("left", "right"),
    [("500m", "0.5"), ("1Gi", "1024Mi"), ("1", 1), ("1000m", 1), ("1e3", "1k"), ("1E3", "1000"),
     ("2", "2.0"), ("0.5Gi", "512Mi"), ("+1", "1"), (".5", "500m")],
)  # fmt: skip
def test_quantities_that_mean_the_same(left: str, right: str | int) -> None:
    assert quantity.equal(left, right)
    assert quantity.equal(right, left)


@pytest.mark.parametrize(("left", "right"), [("1G", "1Gi"), ("1m", "1M"), ("x", "y"), ("x", 1)])
def test_quantities_that_differ(left: str, right: str | int) -> None:
    assert not quantity.equal(left, right)


@given(
    st.decimals(0, 10**6, places=3, allow_nan=False, allow_infinity=False),
    st.sampled_from(SUFFIXES),
)
def test_reads_quantities_as_the_kubernetes_client_does(number: Decimal, suffix: str) -> None:
    assert quantity.parse(f"{number}{suffix}") == parse_quantity(f"{number}{suffix}")


@given(st.text(max_size=20))
def test_any_text_is_read_or_refused_with_help(text: str) -> None:
    try:
        quantity.parse(text)
    except quantity.InvalidQuantity as error:
        assert "write a number with a Kubernetes unit" in str(error)


@pytest.mark.parametrize(
    "text", ["", "1Kib", "1 Gi", "Gi", "1e", "--1", "0x1", "1_000", "٣", "NaN"]
)
def test_refuses_the_same_as_kubernetes(text: str) -> None:
    with pytest.raises(quantity.InvalidQuantity):
        quantity.parse(text)


@pytest.mark.parametrize(
    ("text", "expected"),
    [("30s", 30), ("2m", 120), ("1h", 3600), ("500ms", 0.5), ("1m30s", 90), ("0s", 0)],
)
def test_durations_in_seconds(text: str, expected: float) -> None:
    assert quantity.seconds(text) == expected


@given(
    st.lists(st.tuples(st.integers(0, 99_999), st.sampled_from(["h", "m", "s", "ms"])), min_size=1,
             max_size=4)
)  # fmt: skip
def test_a_duration_is_the_sum_of_its_parts(parts: list[tuple[int, str]]) -> None:
    lengths = {"h": 3600, "m": 60, "s": 1, "ms": 0.001}
    expected = sum(number * lengths[unit] for number, unit in parts)
    text = "".join(f"{number}{unit}" for number, unit in parts)
    assert quantity.seconds(text) == pytest.approx(expected)


@pytest.mark.parametrize("text", ["", "10", "10 m", "1d", "-1s", "1.5h", "123456s", "1s\n"])
def test_refuses_anything_else_as_a_duration(text: str) -> None:
    with pytest.raises(quantity.InvalidQuantity, match="like 500ms, 30s, 2m or 1h30m"):
        quantity.seconds(text)
