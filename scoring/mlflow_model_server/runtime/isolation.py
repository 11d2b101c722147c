"""Keeps the credentials of this process from the programs that it starts."""

from __future__ import annotations

import ctypes
import os

_PR_SET_DUMPABLE = 4  # linux/prctl.h
# What almost any program needs, and no secret.
_VARIABLES = (
    *("PATH", "HOME", "USER", "TMPDIR", "LANG", "LC_ALL", "LD_LIBRARY_PATH", "PYTHONUNBUFFERED"),
    *("PYTHONDONTWRITEBYTECODE", "PYTHONPYCACHEPREFIX"),
)


def environment(*names: str) -> dict[str, str]:
    """The variables for a program that needs these besides the usual, and no others."""
    return {name: os.environ[name] for name in (*_VARIABLES, *names) if name in os.environ}


def hide_from_others() -> None:
    """From now on no other process of the same user may read this one's environment and memory.

    A child gets the environment that it is given; but it could look into /proc.
    """
    prctl = getattr(ctypes.CDLL(None), "prctl", None)  # Linux has it
    if prctl is not None:
        prctl(_PR_SET_DUMPABLE, 0, 0, 0, 0)
