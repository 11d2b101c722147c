"""Runs a fuzzer from seeds: of random bytes nearly none are JSON."""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Callable, Iterable
from pathlib import Path

import atheris


def fuzz(target: Callable[[bytes], None], seeds: Iterable[bytes], choices: int = 1) -> None:
    """Runs until libFuzzer's options say stop.

    An input's first byte is a choice, of a model or a format; each seed is tried with all of them.
    """
    with tempfile.TemporaryDirectory() as folder:
        for number, seed in enumerate(seeds):
            for choice in range(choices):
                file = Path(folder) / f"{number}-{choice}"
                file.write_bytes(bytes([choice]) + seed)
                target(file.read_bytes())
        atheris.Setup([*sys.argv, folder], target)
        atheris.Fuzz()
