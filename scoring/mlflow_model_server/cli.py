"""The command `mlflow-model-server`: prepare, serve, or run (both).

Until a command begins, nothing but the standard library is imported.
"""

from __future__ import annotations

import argparse
import logging
import os
import signal
import sys
from collections.abc import Callable, Sequence
from types import FrameType

from mlflow_model_server import bounded_logging, compat
from mlflow_model_server.runtime import isolation
from mlflow_model_server.runtime.termination import StartupError, write_termination_message
from mlflow_model_server.settings import Settings, SettingsError, from_environment


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs one of the commands.

    Returns 1 for a failure, with a word for the operator; 2 for a setting that can't be used.
    """
    parser = argparse.ArgumentParser(prog="mlflow-model-server", description=__doc__)
    parser.add_argument(
        "command",
        nargs="?",
        default="run",
        choices=_COMMANDS,
        help="prepare: download the model and install its packages; serve: answer "
        "requests; run: both (the default)",
    )
    chosen = parser.parse_args(arguments).command
    bounded_logging.configure()
    # The first process of a container ignores SIGTERM unless it has a handler.
    signal.signal(signal.SIGTERM, _end_at_once)
    try:
        settings = from_environment()
        return _run_command(_COMMANDS[chosen], settings)
    except SettingsError as error:
        logging.error("%s", error)
        return 2


def _run_command(command: Callable[[Settings], int], settings: Settings) -> int:
    try:
        return command(settings)
    except StartupError as failure:
        write_termination_message(failure, settings.termination_log)
        return 1


def _prepare(settings: Settings, *, is_image_chosen: bool = False) -> int:
    """`is_image_chosen`: a custom image, which users choose also for models of another Python."""
    # Imported here: serving must not have loaded what preparing needs.
    from mlflow_model_server.prepare import init_container, python_version

    # Builds of packages and the model's conversion run as its children.
    isolation.hide_from_others()
    check_python = python_version.warn if is_image_chosen else python_version.check
    init_container.prepare(settings, check_python)
    return 0


def _serve(settings: Settings) -> int:
    from mlflow_model_server.serve import serve

    return serve(settings)


def _run(settings: Settings) -> int:
    _prepare(settings, is_image_chosen=True)
    # A new process, which has loaded none of the image's packages yet.
    os.execv(sys.executable, [*compat.module_command("mlflow_model_server"), "serve"])


def _end_at_once(number: int, _frame: FrameType | None) -> None:
    os._exit(128 + number)


_COMMANDS = {"prepare": _prepare, "serve": _serve, "run": _run}
