"""More than one version beside the stable one, each with a share of the requests. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import NamedTuple

from mlflow_model_operator.rollout.state import Revision, Weight


class Variant(NamedTuple):
    """A named version beside the stable one, with a fixed weight."""

    name: str
    revision: Revision
    weight: int = 0  # percent
    has_matches: bool = False  # requests that match are its at any weight: their rule is live


def beside(stable: Revision, variants: Iterable[Variant]) -> tuple[Variant, ...]:
    """Those that are another revision than the stable one, which needs no second share."""
    return tuple(variant for variant in variants if variant.revision.name != stable.name)


def split(
    stable: str, variants: Iterable[Variant], *, is_stable_ready: bool = True
) -> tuple[Weight, ...]:
    """The shares of the stable revision and of these variants; the stable one has what is left.

    Where it does not answer, the variants share all requests in the ratio of their weights.
    """
    weights: dict[str, int] = {}
    for variant in variants:
        weights[variant.revision.name] = weights.get(variant.revision.name, 0) + variant.weight
    served = {name: weight for name, weight in weights.items() if weight > 0}
    if served and not is_stable_ready:
        return tuple(Weight(*share) for share in _scaled(served).items())
    remaining = 100 - sum(served.values())
    first = (Weight(stable, remaining),) if remaining > 0 else ()
    return (*first, *(Weight(*share) for share in served.items()))


def _scaled(weights: Mapping[str, int]) -> dict[str, int]:
    """The same ratio with a sum of 100; what rounding leaves goes to the first.

    >>> _scaled({"b": 20, "c": 10})
    {'b': 67, 'c': 33}
    """
    total = sum(weights.values())
    scaled = {name: 100 * weight // total for name, weight in weights.items()}
    scaled[next(iter(scaled))] += 100 - sum(scaled.values())
    return {name: weight for name, weight in scaled.items() if weight > 0}
