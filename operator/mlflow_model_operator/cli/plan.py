"""`kubectl mmd plan`: what a manifest becomes, by the operator's own code.

Offline it needs no cluster, so it runs in CI; with --live it compares with what the cluster has.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from mlflow_model_operator.cli.commands import Terminal
from mlflow_model_operator.cli.kubectl import CommandError, Kubectl
from mlflow_model_operator.cli.live import live_state
from mlflow_model_operator.cli.manifest import MAX_BYTES, Manifest, read_manifests
from mlflow_model_operator.cli.output import dump_all
from mlflow_model_operator.cli.plan_text import plan_text
from mlflow_model_operator.cli.planning import Planned, offline_settings, plan_live, plan_offline

# Whoever has applied it before, and however.
DRY_RUN = ("--dry-run=server", "--server-side", "--force-conflicts")


def plan(kubectl: Kubectl, options: argparse.Namespace, terminal: Terminal) -> int:
    """Prints what the manifests of a file would become."""
    text = _text(options.filename)
    filename = "stdin" if options.filename == "-" else options.filename
    manifests = read_manifests(text, filename, options.namespace or "default")
    if options.live:
        # Relations between fields are rules of the CRD: the API server checks them.
        kubectl.run("apply", *DRY_RUN, "--filename=-", given=text)
    planned = [_planned(kubectl, manifest, options) for manifest in manifests]
    if options.output:
        objects = [obj for each in planned for obj in each.objects]
        terminal.write(dump_all(objects, options.output))
    else:
        terminal.write("\n".join(plan_text(each) for each in planned))
    return 0


def _planned(kubectl: Kubectl, manifest: Manifest, options: argparse.Namespace) -> Planned:
    if not options.live:
        return plan_offline(manifest, offline_settings(), options.model_version)
    return plan_live(manifest, live_state(kubectl, manifest), options.model_version)


def _text(filename: str) -> str:
    try:
        if filename == "-":
            return sys.stdin.read(MAX_BYTES + 1)
        with Path(filename).open(encoding="utf-8") as file:
            return file.read(MAX_BYTES + 1)
    except (OSError, UnicodeDecodeError) as error:
        raise CommandError(f"{filename} can't be read: {error}") from None
