"""The command line: `python3 -m dev.cluster up`."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from . import cluster
from .binaries import PROGRAMS, ensure_programs
from .command import exit_code, one_at_a_time
from .settings import Settings, read_settings


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; problems that people can do something about are one sentence."""
    asked = _parser().parse_args(arguments)
    return exit_code(lambda: _run_alone(asked))


def _run_alone(asked: argparse.Namespace) -> int:
    settings = read_settings()
    if asked.command == "status":
        return cluster.status(settings)
    with one_at_a_time(settings):
        _run(asked, settings)
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python3 -m dev.cluster", description=cluster.__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("up", help="bring up the cluster; quick if it is up")
    commands.add_parser("down", help="remove the cluster, but keep the engine")
    commands.add_parser("clean", help="stop and remove everything, but keep the cache")
    commands.add_parser("status", help="show whether the cluster is up")
    tools = commands.add_parser("tools", help="build tools, and print the folder to add to PATH")
    tools.add_argument("names", nargs="+", metavar="TOOL", help=", ".join(sorted(PROGRAMS)))
    load = commands.add_parser("load", help="copy images into the cluster's nodes")
    load.add_argument("images", nargs="+", metavar="IMAGE")
    return parser


def _run(asked: argparse.Namespace, settings: Settings) -> None:
    match asked.command:
        case "up":
            cluster.up(settings)
        case "down":
            cluster.down(settings)
        case "clean":
            cluster.clean(settings)
        case "tools":
            ensure_programs(settings, asked.names)
            print(settings.bin)
        case "load":
            cluster.load(settings, asked.images)


if __name__ == "__main__":
    sys.exit(main())
