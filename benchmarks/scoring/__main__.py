"""Runs the benchmark and writes its results: python -m benchmarks.scoring [--cases linear …]."""

from __future__ import annotations

import argparse

from benchmarks import command
from benchmarks.scoring import report
from benchmarks.scoring.measure import Options, measure
from benchmarks.scoring.servers import KINDS

CASES = ["linear", "forest", "text", "onnx", "batch", "torch"]
SERVERS = ["ours", "mlflow", "mlserver", "echo"]


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.scoring", description=__doc__)
    parser.add_argument("--cases", nargs="+", choices=CASES, default=CASES)
    parser.add_argument("--servers", nargs="+", choices=list(KINDS), default=SERVERS)
    parser.add_argument("--clients", nargs="+", type=int, default=[1, 8, 32])
    parser.add_argument("--seconds", type=float, default=6.0, help="of load for each figure")
    parser.add_argument("--rounds", type=int, default=3, help="turns that the servers take in that")
    parser.add_argument(
        "--processes", type=int, default=1, help="start the servers so often for their figures"
    )
    parser.add_argument("--starts", type=int, default=3, help="0: don't measure starts and memory")
    command.add_options(parser)
    given = parser.parse_args()
    options = Options(
        given.cases,
        given.servers,
        given.clients,
        given.seconds,
        given.rounds,
        given.processes,
        given.starts,
    )
    command.run(given, lambda folder: measure(options, folder), report)


if __name__ == "__main__":
    main()
