"""Runs a fuzzer from seeds: of random bytes nearly none are JSON."""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Callable, Iterable
from pathlib import Path

import atheris


def fuzz(one_input: Callable[[bytes], None], seeds: Iterable[bytes], choices: int) -> None:
    """Runs until libFuzzer's options say stop; a seed's first byte is each of the choices once."""
    with tempfile.TemporaryDirectory() as folder:
        for number, seed in enumerate(seeds):
            for choice in range(choices):
                file = Path(folder) / f"{number}-{choice}"
                file.write_bytes(bytes([choice]) + seed)
                one_input(file.read_bytes())
        atheris.Setup([*sys.argv, folder], one_input)
        atheris.Fuzz()
