"""Runs the benchmark and writes its results: python -m benchmarks.scoring [--cases linear …]."""

from __future__ import annotations

import argparse
import signal
import sys
import tempfile
from pathlib import Path

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
    parser.add_argument("--starts", type=int, default=3, help="0: don't measure starts and memory")
    parser.add_argument("--folder", type=Path, help="keep logs here (default: a temporary folder)")
    parser.add_argument("--no-results", action="store_true", help="only print")
    given = parser.parse_args()
    # So that all that was started is stopped.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    options = Options(
        given.cases, given.servers, given.clients, given.seconds, given.rounds, given.starts
    )
    with tempfile.TemporaryDirectory(prefix="scoring-") as temporary:
        folder: Path = given.folder or Path(temporary)
        folder.mkdir(parents=True, exist_ok=True)
        result = measure(options, folder.resolve())
    print(report.as_markdown(result))
    if not given.no_results:
        report.write(result)


if __name__ == "__main__":
    main()
