"""Knowing a DataFrame without importing pandas."""

from __future__ import annotations

from typing import Any


def is_frame(data: Any) -> bool:
    """Whether it is a pandas DataFrame."""
    # Not isinstance: pandas may not be loaded, and then this is none of its frames.
    return hasattr(data, "columns") and hasattr(data, "dtypes")
