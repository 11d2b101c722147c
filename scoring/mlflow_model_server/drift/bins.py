"""Bins of the values of a feature or prediction, and the distance of two distributions. Pure."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import pairwise
from typing import Any

MISSING = "(missing)"
OTHER = "(other)"
MAX_BINS = 8192  # of all features and predictions together
# Of ages of features, in seconds: from one second to 30 days.
AGES = (
    *(1.0, 5.0, 10.0, 30.0, 60.0, 300.0, 900.0, 1800.0),
    *(3600.0, 7200.0, 14400.0, 21600.0, 43200.0),
    *(86400.0, 172800.0, 259200.0, 604800.0, 1209600.0, 2592000.0),
)


@dataclass(frozen=True)
class Bins:
    """Fixed bins, and how many values of the baseline each has.

    With `edges`, which ascend, bin i holds the values above edge i-1 and up to edge i; the first
    and the last are open. Without, there is one bin for each of `categories`, and one for others.
    The last bin is always for missing values.
    """

    name: str
    counts: tuple[int, ...]
    edges: tuple[float, ...] | None = None
    categories: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if len(self.counts) != self.size:
            raise ValueError(f"{self.name!r} has {self.size} bins and {len(self.counts)} counts")
        if any(count < 0 for count in self.counts):
            raise ValueError(f"{self.name!r} has counts below 0")
        edges = self.edges or ()
        if any(not a < b for a, b in pairwise(edges)):
            raise ValueError(f"the edges of {self.name!r} do not ascend")
        # Two with the same label would be one and the same time series.
        if len(set(self.labels())) < self.size:
            raise ValueError(f"{self.name!r} has several bins with the same label")

    @property
    def size(self) -> int:
        """How many bins there are, the one for missing values among them."""
        return len(self.categories if self.edges is None else self.edges) + 2

    def labels(self) -> list[str]:
        """A name for each bin, like `(1.5,2]`, or the category itself."""
        if self.edges is None:
            return [*self.categories, OTHER, MISSING]
        ends = [f"{edge:g}" for edge in self.edges]
        starts = ["-inf", *ends]
        spans = [f"({start},{end}]" for start, end in zip(starts, ends, strict=False)]
        return [*spans, f"({starts[-1]},inf)", MISSING]

    def ratios(self) -> list[float]:
        """The share of each bin in the baseline."""
        return [count / max(1, sum(self.counts)) for count in self.counts]


@dataclass(frozen=True)
class Baseline:
    """The distribution of all features and predictions before anything drifted."""

    features: tuple[Bins, ...]
    predictions: tuple[Bins, ...]

    def placed(self) -> Iterator[tuple[Bins, int]]:
        """Each feature's bins, then each prediction's, and the place of their first counter."""
        place = 0
        for bins in (*self.features, *self.predictions):
            yield bins, place
            place += bins.size

    def to_json(self) -> dict[str, Any]:
        """The form of the file; see docs/scoring-metrics.md."""
        return {"format": 1, **asdict(self)}

    @classmethod
    def from_json(cls, document: Any) -> Baseline:
        """Raises ValueError if the document does not have that form."""
        try:
            if document["format"] != 1:
                raise ValueError(f"format {document['format']!r} is not supported: write 1")
            return cls(*(_all_bins(document[part]) for part in ("features", "predictions")))
        except (KeyError, TypeError, AttributeError, OverflowError) as error:
            raise ValueError(f"this is not a baseline: {type(error).__name__}: {error}") from error


def _all_bins(entries: Any) -> tuple[Bins, ...]:
    bins = tuple(map(_bins, entries))
    if len({each.name for each in bins}) < len(bins):
        raise ValueError("two features, or two predictions, have the same name")
    return bins


def _bins(entry: Mapping[str, Any]) -> Bins:
    edges = entry.get("edges")
    return Bins(
        name=str(entry["name"]),
        counts=tuple(map(int, entry["counts"])),
        edges=None if edges is None else tuple(map(float, edges)),
        categories=tuple(map(str, entry.get("categories") or ())),
    )


def psi(baseline: Sequence[float], live: Sequence[float]) -> float:
    """The population stability index of two distributions over the same bins.

    Sum of (p - q) * ln(p / q) over the bins; half a count is added to each, so that an empty bin
    gives a large number and not an infinite one. By custom, up to 0.1 is little, above 0.25 much.

    >>> round(psi([50, 50], [50, 50]), 3), round(psi([50, 50], [90, 10]), 2)
    (0.0, 0.85)
    """
    p, q = _shares(live), _shares(baseline)
    return sum((a - b) * math.log(a / b) for a, b in zip(p, q, strict=True))


def _shares(counts: Sequence[float]) -> list[float]:
    total = sum(counts) + 0.5 * len(counts)
    return [(count + 0.5) / total for count in counts]
