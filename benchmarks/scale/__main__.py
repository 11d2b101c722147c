"""Runs the benchmark and writes its results: python -m benchmarks.scale [--resources 1000]."""

from __future__ import annotations

import argparse
import shlex
import signal
import sys
import tempfile
from pathlib import Path

from benchmarks.scale import report
from benchmarks.scale.measure import Options, measure


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.scale", description=__doc__)
    parser.add_argument("--resources", type=int, default=1000)
    parser.add_argument("--idle", type=float, default=60.0, help="seconds without a change")
    parser.add_argument("--changes", type=int, default=11, help="how many changes are timed")
    parser.add_argument("--within", type=float, default=900.0, help="seconds until all are Ready")
    parser.add_argument("--folder", type=Path, help="keep logs here (default: a temporary folder)")
    parser.add_argument("--wrapper", default="", help="a command to start the operator with")
    parser.add_argument("--no-results", action="store_true", help="only print")
    given = parser.parse_args()
    # So that all that was started is stopped.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    options = Options(
        given.resources, given.idle, given.changes, given.within, shlex.split(given.wrapper)
    )
    with tempfile.TemporaryDirectory(prefix="scale-") as temporary:
        folder: Path = given.folder or Path(temporary)
        folder.mkdir(parents=True, exist_ok=True)
        result = measure(options, folder.resolve())
    print(report.as_markdown(result))
    if not given.no_results:
        report.write(result)


if __name__ == "__main__":
    main()
