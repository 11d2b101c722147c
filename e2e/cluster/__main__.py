"""The command line: `python3 -m e2e.cluster up`."""

from __future__ import annotations

import argparse
import fcntl
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from . import cluster
from .baseimage import ensure_base_image
from .binaries import PROGRAMS, ensure_programs
from .engine import ensure_engine
from .errors import ClusterError
from .progress import say
from .settings import Settings, read_settings


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; problems that people can do something about are one sentence."""
    asked = _parser().parse_args(arguments)
    try:
        settings = read_settings()
        if asked.command == "status":
            return cluster.status(settings)
        with _one_at_a_time(settings):
            _run(asked, settings)
        return 0
    except ClusterError as problem:
        print(f"error: {problem}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("\nInterrupted; run it again to go on.", file=sys.stderr)
        return 130


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python3 -m e2e.cluster", description=cluster.__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("up", help="bring the cluster up; quick when it is")
    commands.add_parser("down", help="remove the cluster, keep the engine")
    commands.add_parser("clean", help="stop and remove all that was started, keep the cache")
    commands.add_parser("status", help="say whether the cluster is up")
    commands.add_parser("base-image", help="print the image that the project's images start from")
    tools = commands.add_parser("tools", help="build tools, and print the folder to put on PATH")
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
        case "base-image":
            print(ensure_base_image(settings, ensure_engine(settings)))
        case "tools":
            ensure_programs(settings, asked.names)
            print(settings.bin)
        case "load":
            cluster.load(settings, asked.images)


@contextmanager
def _one_at_a_time(settings: Settings) -> Iterator[None]:
    # Two runs would start two engines and build everything twice. The lock ends with the process,
    # however it ends.
    settings.cache.mkdir(parents=True, exist_ok=True)
    with (settings.cache / "lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            say("Waiting for another run that uses the same cache.")
            fcntl.flock(lock, fcntl.LOCK_EX)
        yield


if __name__ == "__main__":
    sys.exit(main())
