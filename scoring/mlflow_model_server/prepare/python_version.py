"""Whether this Python loads the model: pickled code runs with the Python that it was logged with.

Another one may read its bytecode, and end without an exception at the first request. The operator
has the same rule, in registry/tracking_server.py and api/python_versions.py, for models whose
MLmodel file it can read; tests/portability.py holds both to the same table.
"""

from __future__ import annotations

import logging
import re
import sys
from typing import Any

from mlflow_model_server.runtime.termination import StartupError

log = logging.getLogger(__name__)

# Flavors that are stored in formats of their own, unless their file is a pickle.
_DATA_LOADERS = {"mlflow.catboost", "mlflow.lightgbm", "mlflow.onnx", "mlflow.xgboost"}
_VERSION = re.compile(r"\d{1,3}\.\d{1,3}[\w.]{0,40}")


def check(mlmodel: dict[str, Any], environment_python: str | None) -> None:
    """Raises StartupError with PythonVersionUnsupported where this Python can't load the model.

    `environment_python` is the version in the model's environment files, which counts where the
    MLmodel file names none.
    """
    logged = _other_version(mlmodel, environment_python)
    if logged is not None:
        raise StartupError(
            "PythonVersionUnsupported",
            f"The model was logged with Python {logged}, and no other Python loads its code; "
            f"this image has Python {_own_version()}",
        )


def warn(mlmodel: dict[str, Any], environment_python: str | None) -> None:
    """Only logs what `check` refuses: for images that somebody chose for the model."""
    logged = _other_version(mlmodel, environment_python)
    if logged is not None:
        log.warning(
            "the model was logged with Python %s and runs with this image's %s: if it does not "
            "load, or ends the server, use an image with Python %s",
            logged,
            _own_version(),
            _minor(logged),
        )


def is_portable(mlmodel: dict[str, Any]) -> bool:
    """Whether any Python version loads it: it has data, or source code, and no pickled objects."""
    pyfunc = _flavor(mlmodel, "python_function")
    loader = str(pyfunc.get("loader_module"))
    if loader == "mlflow.sklearn":
        return bool(_flavor(mlmodel, "sklearn").get("serialization_format") == "skops")
    if loader == "mlflow.pyfunc.model" or loader.startswith("mlflow.pyfunc.loaders."):
        return "model_code_path" in pyfunc
    return loader in _DATA_LOADERS and not str(pyfunc.get("data")).endswith((".pkl", ".pickle"))


def _other_version(mlmodel: dict[str, Any], environment_python: str | None) -> str | None:
    """The Python that the model needs, if it is another one than this."""
    named = str(_flavor(mlmodel, "python_function").get("python_version"))
    logged = named if _VERSION.fullmatch(named) else environment_python
    if logged is None or not _VERSION.fullmatch(logged) or is_portable(mlmodel):
        return None
    return logged if _minor(logged) != _own_version() else None


def _own_version() -> str:
    return ".".join(map(str, sys.version_info[:2]))


def _minor(version: str) -> str:
    return ".".join(version.split(".")[:2])


def _flavor(mlmodel: dict[str, Any], name: str) -> dict[str, Any]:
    flavors = mlmodel.get("flavors")
    flavor = flavors.get(name) if isinstance(flavors, dict) else None
    return flavor if isinstance(flavor, dict) else {}
