"""The shares of several variants."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlflow_model_operator.api.model_version import ModelVersion
from mlflow_model_operator.rollout.state import Revision, Weight
from mlflow_model_operator.rollout.variants import Variant, beside, split


def variant(name: str, weight: int, revision: str | None = None) -> Variant:
    model = ModelVersion("models:/wine/2", "models:/wine/2", "2")
    return Variant(name, Revision(revision or f"wine-{name}", model), weight)


@pytest.mark.parametrize(
    ("variants", "shares"),
    [
        ([], [("wine-a", 100)]),
        ([variant("b", 0)], [("wine-a", 100)]),
        ([variant("b", 30), variant("c", 20)], [("wine-a", 50), ("wine-b", 30), ("wine-c", 20)]),
        ([variant("b", 60), variant("c", 40)], [("wine-b", 60), ("wine-c", 40)]),
        (
            [variant("b", 30, "wine-x"), variant("c", 20, "wine-x")],
            [("wine-a", 50), ("wine-x", 50)],
        ),
    ],
)
def test_the_stable_revision_has_what_is_left(
    variants: list[Variant], shares: list[tuple[str, int]]
) -> None:
    assert split("wine-a", variants) == tuple(Weight(*share) for share in shares)


def test_a_variant_that_is_the_stable_revision_is_none() -> None:
    variants = [variant("b", 30), variant("a", 20)]
    assert [entry.name for entry in beside(variants[1].revision, variants)] == ["b"]


@given(
    weights=st.lists(st.integers(0, 25), max_size=4),
    is_stable_ready=st.booleans(),
)
def test_the_shares_are_everything_and_none_is_empty(
    weights: list[int], is_stable_ready: bool
) -> None:
    variants = [variant(str(number), weight) for number, weight in enumerate(weights)]
    shares = split("wine-a", variants, is_stable_ready=is_stable_ready)
    assert sum(share.weight for share in shares) == 100
    assert all(share.weight > 0 for share in shares)
    has_stable = shares[0].revision == "wine-a"
    assert has_stable == (is_stable_ready or not any(weights))
