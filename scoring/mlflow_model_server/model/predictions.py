"""Predictions as lists, and lists as predictions again. Pure."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

# What tolist() turns into numbers, strings and booleans that JSON has.
_PLAIN_KINDS = "biufU"


class NotSerializable(Exception):
    """MLflow's own encoder is to write this."""


class ArrayInfo(NamedTuple):
    """What lists don't say of the predictions that they were."""

    finite: bool  # JSON has all their numbers: it has no NaN
    dtype: Any  # numpy's; or a dict of them, by name


def to_lists(predictions: Any) -> tuple[Any, ArrayInfo]:
    """Predictions as lists, and what these don't say.

    Raises NotSerializable for anything but an array of numbers, strings or booleans, or a dict of
    such arrays.
    """
    if isinstance(predictions, dict):
        parts = {name: to_lists(value) for name, value in predictions.items()}
        lists = {name: part for name, (part, _) in parts.items()}
        dtypes = {name: about.dtype for name, (_, about) in parts.items()}
        return lists, ArrayInfo(all(about.finite for _, about in parts.values()), dtypes)
    if type(predictions) is not np.ndarray or predictions.dtype.kind not in _PLAIN_KINDS:
        raise NotSerializable
    finite = predictions.dtype.kind != "f" or bool(np.isfinite(predictions).all())
    return predictions.tolist(), ArrayInfo(finite, predictions.dtype)


def to_arrays(lists: Any, dtype: Any) -> Any:
    """The predictions again, as arrays: what `plain` has made lists of."""
    if isinstance(lists, dict):
        return {name: to_arrays(part, dtype[name]) for name, part in lists.items()}
    return np.array(lists, dtype)
