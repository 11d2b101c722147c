"""Runs the benchmark and writes its results: python -m benchmarks.releases [--steps …]."""

from __future__ import annotations

import argparse

from benchmarks import command
from benchmarks.releases import report
from benchmarks.releases.measure import Options, measure


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.releases", description=__doc__)
    parser.add_argument("--releases", type=int, default=20)
    parser.add_argument("--per-second", type=float, default=300)
    parser.add_argument("--kills", type=int, default=6, help="releases in which the operator dies")
    parser.add_argument("--steps", action="store_true", help="with spec.rollout.steps")
    parser.add_argument("--min-requests", type=int, default=0, help="go on until there are so many")
    command.add_options(parser)
    given = parser.parse_args()
    options = Options(
        given.releases, given.per_second, given.kills, given.steps, given.min_requests
    )
    command.run(given, lambda folder: measure(options, folder), report)


if __name__ == "__main__":
    main()
