"""The command line: `kubectl mmd COMMAND …`, as kubectl calls the program `kubectl-mmd`."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from mlflow_model_operator import __version__
from mlflow_model_operator.cli import commands
from mlflow_model_operator.cli.commands import Terminal, Watch
from mlflow_model_operator.cli.controls import UNDO, WORDS, Control
from mlflow_model_operator.cli.kubectl import CommandError, Kubectl
from mlflow_model_operator.cli.output import FORMATS

PROGRAM = "kubectl mmd"
# Flags of kubectl that are handed on as they are.
KUBECTL_FLAGS = ("namespace", "context", "kubeconfig", "cluster", "user", "as")

_HELP = {
    "pause": "keep a rollout at its current weight",
    "resume": "continue a paused rollout",
    "promote": "skip the remaining steps",
    "abort": "roll back to the old version, which receives all requests",
    "retry": "try a version again that was rolled back",
    "undo": "go back to the version that was promoted before the stable one",
}


def main(arguments: Sequence[str] | None = None, terminal: Terminal | None = None) -> int:
    """Runs one command; returns the exit status."""
    options = _parser().parse_args(arguments)
    terminal = terminal or Terminal()
    try:
        return _run(options, terminal)
    except CommandError as error:
        terminal.err.write(f"{error}\n")
        return 1
    except (KeyboardInterrupt, BrokenPipeError):
        return 130


def _run(options: argparse.Namespace, terminal: Terminal) -> int:
    kubectl, name = Kubectl(_kubectl_flags(options)), getattr(options, "name", "")
    if options.command == "status":
        return _status(kubectl, options, terminal)
    if options.command == "history":
        return commands.history(kubectl, name, options.output, terminal)
    if options.command == "plan":
        from mlflow_model_operator.cli.plan import plan  # the operator's code, which takes a while

        return plan(kubectl, options, terminal)
    version = options.to if options.command == UNDO else ""
    requested = Control(options.command, version)
    return commands.control(kubectl, name, requested, options.timeout, terminal)


def _status(kubectl: Kubectl, options: argparse.Namespace, terminal: Terminal) -> int:
    if not (options.watch or options.until_done):
        return commands.status(kubectl, options.name, options.output, terminal)
    how = Watch(options.interval, options.timeout, options.until_done)
    return commands.watch(kubectl, options.name, options.output, how, terminal)


def _kubectl_flags(options: argparse.Namespace) -> list[str]:
    given = ((flag, getattr(options, flag)) for flag in KUBECTL_FLAGS)
    return [f"--{flag}={value}" for flag, value in given if value is not None]


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog=PROGRAM,
        description="Looks at the rollouts of MLflowModelDeployments, and controls them.",
    )
    parser.add_argument("--version", action="version", version=__version__)
    subparsers = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    shared = _shared_flags()
    _add_status(subparsers.add_parser("status", parents=[shared], help="show a rollout"))
    history = subparsers.add_parser("history", parents=[shared], help="list the last rollouts")
    history.add_argument("name", metavar="NAME")
    _add_output(history)
    for word in WORDS:
        _add_control(word, subparsers.add_parser(word, parents=[shared], help=_HELP[word]))
    _add_plan(
        subparsers.add_parser(
            "plan", parents=[shared], help="show offline which objects a manifest results in"
        )
    )
    return parser


def _shared_flags() -> argparse.ArgumentParser:
    shared = argparse.ArgumentParser(add_help=False)
    group = shared.add_argument_group("flags of kubectl")
    group.add_argument("-n", "--namespace", help="the namespace of the resource")
    for flag in KUBECTL_FLAGS[1:]:
        group.add_argument(
            f"--{flag}", help=argparse.SUPPRESS if flag == "as" else "as for kubectl"
        )
    return shared


def _add_status(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("name", metavar="NAME")
    parser.add_argument("-w", "--watch", action="store_true", help="show each change, until Ctrl-C")
    parser.add_argument(
        "--until-done",
        action="store_true",
        help="watch until the rollout has ended; exit with 1 if the version was rolled back",
    )
    parser.add_argument("--interval", type=float, default=2.0, help="seconds between looks (2)")
    parser.add_argument(
        "--timeout", type=float, default=0.0, help="seconds after which watching ends (0: never)"
    )
    _add_output(parser)


def _add_control(word: str, parser: argparse.ArgumentParser) -> None:
    parser.description = f"{_HELP[word].capitalize()}."
    parser.add_argument("name", metavar="NAME")
    parser.add_argument(
        "--timeout",
        type=float,
        default=30.0,
        help="seconds in which the operator has to read it (30)",
    )
    if word == UNDO:
        parser.add_argument(
            "--to", default="", metavar="VERSION", help="a version, or the name of a revision"
        )


def _add_plan(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "-f", "--filename", required=True, help="a file with MLflowModelDeployments; -: stdin"
    )
    parser.add_argument(
        "--live",
        action="store_true",
        help="compare with the cluster, and use its operator's settings",
    )
    parser.add_argument(
        "--model-version",
        default="",
        metavar="N",
        help="the version that an alias, a stage or latest resolves to",
    )
    _add_output(parser)


def _add_output(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("-o", "--output", choices=FORMATS, default="", help="for programs")


def run() -> None:
    """The console script."""
    sys.exit(main())


if __name__ == "__main__":
    run()
