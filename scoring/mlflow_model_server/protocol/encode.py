"""Predictions as MLflow's JSON. Pure."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import orjson

# What tolist() turns into numbers, strings and booleans that JSON has.
_PLAIN_KINDS = "biufU"


class NotPlain(Exception):
    """MLflow's own encoder is to write this."""


def plain(predictions: Any) -> tuple[Any, bool]:
    """Predictions as lists, and whether JSON has all their numbers (it has no NaN).

    Raises NotPlain for what is neither an array of numbers, strings or booleans nor a dict of such.
    """
    if isinstance(predictions, dict):
        parts = {name: plain(value) for name, value in predictions.items()}
        return {n: part for n, (part, _) in parts.items()}, all(f for _, f in parts.values())
    if type(predictions) is not np.ndarray or predictions.dtype.kind not in _PLAIN_KINDS:
        raise NotPlain
    finite = predictions.dtype.kind != "f" or bool(np.isfinite(predictions).all())
    return predictions.tolist(), finite


def encode(predictions: Any, finite: bool = True) -> bytes:
    """The body of an answer with these lists."""
    if finite:
        return orjson.dumps({"predictions": predictions}, option=orjson.OPT_NON_STR_KEYS)
    # As MLflow writes them, NaN and Infinity among them.
    return json.dumps({"predictions": predictions}).encode()
