"""Whether a converted model's answers are the model's own. Pure."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

# What floats may differ by, of their value: computed in double all the way, and not. ONNX' own
# operators for trees and linear classifiers add up in float32, whatever they are given.
TOLERANCES = (1e-9, 1e-5)


def finite_rows(answer: NDArray[Any]) -> NDArray[np.intp]:
    """The places of rows whose answer has no NaN and no infinity."""
    if answer.dtype.kind != "f":
        return np.arange(len(answer))
    return np.flatnonzero(np.isfinite(answer).reshape(len(answer), -1).all(axis=1))


def tolerance_of(expected: NDArray[Any], answer: NDArray[Any]) -> float | None:
    """The least of TOLERANCES by which all is the same; None: it is not. Labels must be equal."""
    if expected.shape != answer.shape or expected.dtype.kind != answer.dtype.kind:
        return None
    if expected.dtype.kind != "f":
        return TOLERANCES[0] if bool((expected == answer).all()) else None
    return next(
        (tolerance for tolerance in TOLERANCES if _close(expected, answer, tolerance).all()), None
    )


def different_rows(expected: NDArray[Any], answer: NDArray[Any]) -> int:
    """How many rows are predicted differently."""
    if expected.shape != answer.shape or expected.dtype.kind != answer.dtype.kind:
        return len(expected)
    if expected.dtype.kind == "f":
        same = _close(expected, answer, TOLERANCES[-1])
    else:
        same = expected == answer
    return int((~same.reshape(len(expected), -1).all(axis=1)).sum())


def _close(expected: NDArray[Any], answer: NDArray[Any], tolerance: float) -> NDArray[np.bool_]:
    # Near zero, of the largest value: what cancels out there leaves only rounding. At most of 1.
    scale = min(1.0, float(np.abs(expected).max(initial=0.0)))
    close: NDArray[np.bool_] = np.isclose(
        answer, expected, rtol=tolerance, atol=tolerance * scale, equal_nan=True
    )
    return close
