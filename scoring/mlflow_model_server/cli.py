"""The command `mlflow-model-server`: prepare, serve, or run (both)."""

from __future__ import annotations

import argparse
import logging
import sys

from mlflow_model_server.settings import Settings, from_environment
from mlflow_model_server.termination import Failed, leave_word


def main(arguments: list[str] | None = None) -> None:
    """Runs one of the commands; ends with exit code 1 and a word for the operator if it fails."""
    parser = argparse.ArgumentParser(prog="mlflow-model-server", description=__doc__)
    parser.add_argument(
        "command",
        nargs="?",
        default="run",
        choices=_COMMANDS,
        help="prepare: fetch the model and install its packages; serve: answer requests; "
        "run: both (the default)",
    )
    chosen = parser.parse_args(arguments).command
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s")
    settings = from_environment()
    try:
        _COMMANDS[chosen](settings)
    except Failed as failure:
        leave_word(failure, settings.termination_log)
        sys.exit(1)


def _prepare(settings: Settings) -> None:
    # Imported here: serving need not pay for what preparing needs, nor the other way round.
    from mlflow_model_server.prepare import prepare

    prepare(settings)


def _serve(settings: Settings) -> None:
    from mlflow_model_server.serve import serve

    serve(settings)


def _run(settings: Settings) -> None:
    _prepare(settings)
    _serve(settings)


_COMMANDS = {"prepare": _prepare, "serve": _serve, "run": _run}


if __name__ == "__main__":
    main()
