"""From a registry to a model that answers, a canary, and a new version without a lost request.

Run by `make demo`, on the cluster that `make cluster` brought up. It may be run again at any time.
With a cluster of your own (CLUSTER=current), say where its gateway `gateways/shared` and the MLflow
server that the demo starts there answer on this machine: GATEWAY_URL and MLFLOW_URL.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from kubernetes.config import ConfigException

from dev import kube
from dev.demo.record import Snapshots
from dev.demo.screen import Screen
from dev.demo.story import NAMESPACE, Demo
from dev.kube import CommandError
from dev.traffic import RequestFailed


def main(arguments: Sequence[str] | None = None) -> int:
    """Tells the story; where it does not go on, shows what the resource says of itself."""
    parser = argparse.ArgumentParser(prog="python -m dev.demo", description=__doc__)
    parser.add_argument("--record", type=Path, metavar="FILE", help="also write the output to FILE")
    asked = parser.parse_args(arguments)
    screen, snapshots = Screen(), Snapshots()
    start = time.monotonic()
    try:
        Demo(screen, snapshots).tell()
    except (AssertionError, CommandError, ConfigException, RequestFailed) as problem:
        print(f"\n\nThe demo failed: {problem}\n\n{_situation()}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("\n\nInterrupted; run it again to start over.", file=sys.stderr)
        return 130
    if asked.record:
        snapshots.write(asked.record, screen.transcript)
    screen.say(f"The demo took {time.monotonic() - start:.0f} s.")
    return 0


def _situation() -> str:
    try:
        return kube.story(NAMESPACE)
    except Exception as error:  # the cluster may be what is missing
        return f"(The cluster does not respond: {error})"


if __name__ == "__main__":
    sys.exit(main())
