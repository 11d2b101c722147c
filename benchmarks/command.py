"""What the command lines of the benchmarks have in common."""

from __future__ import annotations

import argparse
import signal
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Protocol, TypeVar

R = TypeVar("R")
Result = TypeVar("Result", contravariant=True)


class Report(Protocol[Result]):
    """How a benchmark's results are told: its module `report`."""

    def as_markdown(self, result: Result) -> str:
        """For people."""

    def write(self, result: Result) -> None:
        """To the results' folder."""


def add_options(parser: argparse.ArgumentParser) -> None:
    """Those that all benchmarks have."""
    parser.add_argument("--folder", type=Path, help="keep logs here (default: a temporary folder)")
    parser.add_argument("--no-results", action="store_true", help="only print")


def run(given: argparse.Namespace, measure: Callable[[Path], R], report: Report[R]) -> None:
    """Measures, with a folder for logs, prints what came out, and keeps it if that is wanted."""
    # So that all that was started is stopped.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    with tempfile.TemporaryDirectory(prefix="benchmark-") as temporary:
        folder: Path = given.folder or Path(temporary)
        folder.mkdir(parents=True, exist_ok=True)
        result = measure(folder.resolve())
    print(report.as_markdown(result))
    if not given.no_results:
        report.write(result)
