"""Has the model converted, in a process of its own: what the init container does besides."""

from __future__ import annotations

import logging
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import mlflow_model_server
from mlflow_model_server import environment, memory, threads
from mlflow_model_server.conversion import note
from mlflow_model_server.conversion.note import Note, unconverted
from mlflow_model_server.requirements import Wanted
from mlflow_model_server.settings import Settings
from mlflow_model_server.termination import Failed, bounded, without_passwords

log = logging.getLogger(__name__)

PACKAGES = ("skl2onnx", "onnx", "onnxruntime")
SECONDS = 180
# With less, the libraries alone would not load, or wait for ever for memory that does not come.
LEAST_BYTES = 300 * 2**20


def attempt(settings: Settings, mlmodel: dict[str, Any], wanted: Wanted) -> None:
    """Leaves a note in `settings.converted`, and the converted model if it answers alike.

    `wanted` is what the model's packages are. Whatever hinders it, the model can be served.
    """
    shutil.rmtree(settings.converted, ignore_errors=True)
    settings.converted.mkdir(parents=True)
    # It stands if this container is killed meanwhile, and is not to try again then.
    unconverted(
        note.BROKEN_OFF, "the container ended during the conversion; it may need more memory"
    ).write(settings.converted)
    outcome = _outcome(settings, mlmodel, wanted)
    outcome.write(settings.converted)
    if outcome.converted is None:
        log.warning("the model is not converted to ONNX: %s", outcome.message)
        shutil.rmtree(settings.onnx_packages, ignore_errors=True)
        (settings.converted / note.MODEL).unlink(missing_ok=True)
    else:
        log.info("the model is converted to ONNX: %s", outcome.message)


def _outcome(settings: Settings, mlmodel: dict[str, Any], wanted: Wanted) -> Note:
    hindrance = _hindrance(mlmodel)
    if hindrance is not None:
        return hindrance
    most_bytes = memory.left_for_another()
    if most_bytes is not None and most_bytes < LEAST_BYTES:
        return unconverted(note.BROKEN_OFF, "the memory limit is too low: 500Mi are the least")
    try:
        environment.install_beside(settings, wanted, PACKAGES, settings.onnx_packages)
    except Failed as failure:
        return unconverted(note.NO_PACKAGES, failure.message)
    return _in_a_process(settings, most_bytes)


def _hindrance(mlmodel: dict[str, Any]) -> Note | None:
    """Why there is nothing to try, by the model's MLmodel file."""
    loader = mlmodel.get("flavors", {}).get("python_function", {}).get("loader_module")
    if loader != "mlflow.sklearn":
        return unconverted(note.NOT_SKLEARN, f"only scikit-learn's models are, not {loader}'s")
    if not mlmodel.get("signature"):
        return unconverted(note.NO_SIGNATURE, "it has no signature")
    if not mlmodel.get("saved_input_example_info"):
        return unconverted(
            note.NO_EXAMPLE, "it has no input example to compare answers on: log it with one"
        )
    return None


def _in_a_process(settings: Settings, most_bytes: int | None) -> Note:
    arguments = [str(settings.model_dir), *([] if most_bytes is None else [str(most_bytes)])]
    module = "mlflow_model_server.conversion.convert"
    source = str(Path(mlflow_model_server.__file__).parents[1])
    paths = filter(None, [source, os.environ.get("PYTHONPATH")])
    try:
        done = subprocess.run(
            # -P: what lies in the working directory is no module.
            [sys.executable, "-P", "-m", module, *arguments],
            env={
                **os.environ,
                **dict.fromkeys(threads.VARIABLES, "1"),  # else memory grows with the node's cores
                "PYTHONPATH": os.pathsep.join(paths),
            },
            capture_output=True,
            text=True,
            check=False,
            timeout=SECONDS,
        )
    except subprocess.TimeoutExpired:
        return unconverted(note.BROKEN_OFF, f"converting it took longer than {SECONDS} s")
    if done.returncode != 0:
        said = without_passwords(done.stderr.strip())
        log.debug("the conversion says:\n%s", said)
        end = said.splitlines()[-1] if said else "it said nothing"
        return unconverted(
            note.BROKEN_OFF, bounded(f"the conversion ended with {done.returncode}: {end}")
        )
    return note.read(settings.converted)
