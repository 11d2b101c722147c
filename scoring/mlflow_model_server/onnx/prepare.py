"""Has the model converted, in a process of its own: what the init container does besides."""

from __future__ import annotations

import logging
import os
import shutil
import subprocess
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import mlflow_model_server
from mlflow_model_server import compat
from mlflow_model_server.onnx import result
from mlflow_model_server.onnx.result import Conversion, not_converted
from mlflow_model_server.runtime import cgroup, isolation
from mlflow_model_server.runtime.termination import StartupError, bounded, redact_urls
from mlflow_model_server.settings import Settings

log = logging.getLogger(__name__)

# The model's code runs in the conversion, beside the credentials of the prepare step.
_VARIABLES = (
    *("SERVING_MODEL_CONFIG", "MLFLOW_ALLOW_PICKLE_DESERIALIZATION"),
    *("MLFLOW_DISABLE_TELEMETRY", "GIT_PYTHON_REFRESH"),
)
PACKAGES = ("skl2onnx", "onnx", "onnxruntime")
CONVERSION_TIMEOUT = 180
# With less, the libraries do not load, or wait endlessly for memory that never becomes free.
MIN_BYTES = 300 * 2**20


# Gets the names of packages, and the folder for them; raises StartupError where no versions fit.
Install = Callable[[Sequence[str], Path], None]


def prepare_onnx(settings: Settings, mlmodel: dict[str, Any], install: Install) -> None:
    """Leaves a note in `settings.converted`, and the converted model if it answers alike.

    `install` brings packages that fit the model's. Whatever hinders it, the model can be served.
    """
    shutil.rmtree(settings.converted, ignore_errors=True)
    settings.converted.mkdir(parents=True)
    # It stands if this container is killed meanwhile, and is not to try again then.
    not_converted(
        result.ABORTED, "the container ended during the conversion; it may need more memory"
    ).write(settings.converted)
    outcome = _outcome(settings, mlmodel, install)
    outcome.write(settings.converted)
    if outcome.spec is None:
        log.warning("the model is not converted to ONNX: %s", outcome.message)
        shutil.rmtree(settings.onnx_packages, ignore_errors=True)
        (settings.converted / result.MODEL).unlink(missing_ok=True)
    else:
        log.info("the model is converted to ONNX: %s", outcome.message)


def _outcome(settings: Settings, mlmodel: dict[str, Any], install: Install) -> Conversion:
    refusal = _reason_not_to_try(mlmodel)
    if refusal is not None:
        return refusal
    max_bytes = cgroup.memory_left_for_child()
    if max_bytes is not None and max_bytes < MIN_BYTES:
        return not_converted(
            result.ABORTED, "the memory limit is too low: it must be at least 500Mi"
        )
    try:
        install(PACKAGES, settings.onnx_packages)
    except StartupError as failure:
        return not_converted(result.NO_PACKAGES, failure.message)
    return _in_a_process(settings, max_bytes)


def _reason_not_to_try(mlmodel: dict[str, Any]) -> Conversion | None:
    """Why there is nothing to try, by the model's MLmodel file."""
    loader = mlmodel.get("flavors", {}).get("python_function", {}).get("loader_module")
    if loader != "mlflow.sklearn":
        return not_converted(
            result.NOT_SKLEARN, f"only scikit-learn models are converted, not those of {loader}"
        )
    if not mlmodel.get("signature"):
        return not_converted(result.NO_SIGNATURE, "it has no signature")
    if not mlmodel.get("saved_input_example_info"):
        return not_converted(
            result.NO_EXAMPLE, "it has no input example to compare predictions on: log it with one"
        )
    return None


def _in_a_process(settings: Settings, max_bytes: int | None) -> Conversion:
    arguments = [str(settings.model_dir), *([] if max_bytes is None else [str(max_bytes)])]
    module = "mlflow_model_server.onnx"
    source = str(Path(mlflow_model_server.__file__).parents[1])
    paths = filter(None, [source, os.environ.get("PYTHONPATH")])
    try:
        done = subprocess.run(
            [*compat.module_command(module), *arguments],
            env={
                **isolation.environment(*_VARIABLES),
                **dict.fromkeys(cgroup.VARIABLES, "1"),  # else memory grows with the node's cores
                "PYTHONPATH": os.pathsep.join(paths),
            },
            capture_output=True,
            text=True,
            check=False,
            timeout=CONVERSION_TIMEOUT,
        )
    except subprocess.TimeoutExpired:
        return not_converted(
            result.ABORTED, f"converting it took longer than {CONVERSION_TIMEOUT} s"
        )
    if done.returncode != 0:
        output = redact_urls(done.stderr.strip())
        log.debug("output of the conversion:\n%s", output)
        end = output.splitlines()[-1] if output else "it printed nothing"
        return not_converted(
            result.ABORTED, bounded(f"the conversion exited with code {done.returncode}: {end}")
        )
    return result.read(settings.converted)
