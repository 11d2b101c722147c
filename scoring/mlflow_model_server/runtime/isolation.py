"""Keeps what this process knows from the programs that it starts."""

from __future__ import annotations

import ctypes
from collections.abc import Iterator
from contextlib import contextmanager

_PR_SET_DUMPABLE = 4  # linux/prctl.h


@contextmanager
def hidden_from_children() -> Iterator[None]:
    """Meanwhile no other process of the same user may read this process' environment and memory.

    A child gets the environment that it is given; but it could look into /proc.
    """
    _set_dumpable(False)
    try:
        yield
    finally:
        _set_dumpable(True)


def _set_dumpable(dumpable: bool) -> None:
    prctl = getattr(ctypes.CDLL(None), "prctl", None)  # Linux has it
    if prctl is not None:
        prctl(_PR_SET_DUMPABLE, int(dumpable), 0, 0, 0)
