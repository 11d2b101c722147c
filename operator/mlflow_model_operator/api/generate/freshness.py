"""Generated files: written to standard output, or compared with the file in the repository."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path


def write_or_check(text: str, arguments: Sequence[str]) -> int:
    """Prints the text, or, with `--check PATH`, compares it with that file.

    Returns the exit code: 1 for a file that is missing or stale.
    """
    parser = argparse.ArgumentParser(description="Prints a generated file.")
    parser.add_argument("--check", metavar="PATH", type=Path, help="compare instead of printing")
    path: Path | None = parser.parse_args(arguments).check
    if path is None:
        sys.stdout.write(text)
        return 0
    if path.is_file() and path.read_text(encoding="utf-8") == text:
        return 0
    print(f"{path} is not up to date: run `make generate`", file=sys.stderr)
    return 1
