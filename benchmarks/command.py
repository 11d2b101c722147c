"""What the command lines of the benchmarks have in common."""

from __future__ import annotations

import argparse
import signal
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
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


@contextmanager
def log_folder(asked: Path | None = None) -> Iterator[Path]:
    """The folder for logs: the one asked for, or one until the end of the block."""
    # So that all that was started is stopped.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    with tempfile.TemporaryDirectory(prefix="benchmark-") as temporary:
        folder = asked or Path(temporary)
        folder.mkdir(parents=True, exist_ok=True)
        yield folder.resolve()


def run(given: argparse.Namespace, measure: Callable[[Path], R], report: Report[R]) -> None:
    """Measures, with a folder for logs, prints what came out, and keeps it if that is wanted."""
    with log_folder(given.folder) as folder:
        result = measure(folder)
    print(report.as_markdown(result))
    if not given.no_results:
        report.write(result)
