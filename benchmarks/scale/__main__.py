"""Runs the benchmark and writes its results: python -m benchmarks.scale [--resources 1000]."""

from __future__ import annotations

import argparse
import shlex
import sys

from benchmarks import command
from benchmarks.scale import report
from benchmarks.scale.measure import Options, measure


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.scale", description=__doc__)
    parser.add_argument("--resources", type=int, default=1000)
    parser.add_argument("--idle", type=float, default=60.0, help="seconds without a change")
    parser.add_argument("--changes", type=int, default=11, help="how many changes are timed")
    parser.add_argument("--within", type=float, default=900.0, help="seconds until all are Ready")
    parser.add_argument("--python", default=sys.executable, help="the operator's interpreter")
    parser.add_argument("--wrapper", default="", help="a command to start the operator with")
    command.add_options(parser)
    given = parser.parse_args()
    options = Options(
        given.resources,
        given.idle,
        given.changes,
        given.within,
        shlex.split(given.wrapper),
        given.python,
    )
    command.run(given, lambda folder: measure(options, folder), report)


if __name__ == "__main__":
    main()
