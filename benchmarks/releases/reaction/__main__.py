"""Measures how soon a release reacts, and writes the results.

python -m benchmarks.releases.reaction alias       from the move of an alias to the first answer
python -m benchmarks.releases.reaction rollback    from the first bad answer to the weights before
"""

from __future__ import annotations

import argparse

from benchmarks import command
from benchmarks.releases.reaction import moves, moves_report, rollbacks, rollbacks_report


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.releases.reaction",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("part", choices=["alias", "rollback"])
    parser.add_argument("--times", type=int, default=8, help="releases of each kind")
    command.add_options(parser)
    given = parser.parse_args()
    if given.part == "alias":
        command.run(given, lambda folder: moves.measure(given.times, folder), moves_report)
    else:
        command.run(given, lambda folder: rollbacks.measure(given.times, folder), rollbacks_report)


if __name__ == "__main__":
    main()
