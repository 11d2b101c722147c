"""Distributions of predictions, brought to the bins that two revisions have in common. Pure.

Each version has the bins of its own baseline. What both can be counted in are the edges, or the
categories, that both have.
"""

from __future__ import annotations

import math
import re
from bisect import bisect_left
from collections.abc import Iterable, Mapping, Sequence

from mlflow_model_operator.analysis.counts import Counts, Partition

# As the scoring server names bins: `(1.5,2]`, `(2,inf)`, and of categories.
_INTERVAL = re.compile(r"\(([^,()\[\]]+),([^,()\[\]]+)[\])]")
_MISSING, _OTHER = "(missing)", "(other)"

Distribution = tuple[float, ...]


def outputs(*sides: Counts) -> list[str]:
    """The outputs of the model of which anybody has counted values."""
    return sorted({partition.output for side in sides for partition in side.predictions})


def comparable(
    target: Counts, stable: Counts, output: str
) -> tuple[Distribution, Distribution] | None:
    """How often the predictions of both fall into each common bin; None without common bins.

    Bins that neither has a value in are left out.
    """
    sides = [_of_output(target, output), _of_output(stable, output)]
    partitions = [bins for side in sides for bins in side]
    if not all(sides):
        return None
    edges = _common_edges(partitions)
    names = None if edges is not None else _common_categories(partitions)
    if not (edges or names):
        return None
    target_bins, stable_bins = (_rebinned(side, edges, names or ()) for side in sides)
    used = [(a, b) for a, b in zip(target_bins, stable_bins, strict=True) if a + b > 0]
    return tuple(a for a, _ in used), tuple(b for _, b in used)


def _of_output(side: Counts, output: str) -> dict[tuple[str, ...], tuple[float, ...]]:
    return {
        partition.bins: values
        for partition, values in _partitions(side)
        if partition.output == output and sum(values) > 0
    }


def _partitions(side: Counts) -> Iterable[tuple[Partition, tuple[float, ...]]]:
    return side.predictions.items()


def _common_edges(partitions: Sequence[tuple[str, ...]]) -> list[float] | None:
    """The edges that all have; None where the bins of any are categories."""
    common: set[float] | None = None
    for bins in partitions:
        ends = [_end(name) for name in bins if name != _MISSING]
        if any(end is None for end in ends):
            return None
        edges = {end for end in ends if end is not None and math.isfinite(end)}
        common = edges if common is None else common & edges
    return sorted(common or ())


def _common_categories(partitions: Sequence[tuple[str, ...]]) -> tuple[str, ...]:
    shared = set.intersection(*(set(bins) for bins in partitions))
    return tuple(sorted(shared - {_MISSING, _OTHER}))


def _rebinned(
    side: Mapping[tuple[str, ...], tuple[float, ...]],
    edges: list[float] | None,
    names: Sequence[str],
) -> list[float]:
    """The values in each common bin; the last two are those of no other, and the missing ones."""
    index = {name: place for place, name in enumerate(names)}
    size = len(index) if edges is None else len(edges)
    totals = [0.0] * (size + 2)
    for bins, values in side.items():
        for name, value in zip(bins, values, strict=True):
            if name == _MISSING:
                place = size + 1
            elif edges is None:
                place = index.get(name, size)
            else:
                place = bisect_left(edges, _end(name) or 0.0)
            totals[place] += value
    return totals


def _end(name: str) -> float | None:
    """The upper edge of a bin of numbers; None for a category."""
    match = _INTERVAL.fullmatch(name)
    if match is None:
        return None
    try:
        float(match[1])
        end = float(match[2])
    except ValueError:
        return None
    return None if math.isnan(end) else end
