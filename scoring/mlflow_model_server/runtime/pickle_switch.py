"""Has MLflow itself refuse pickles where the policy does not allow them.

A second lock behind prepare/formats.py, which is closed in the process before MLflow is used,
whatever the environment says. `prepare` leaves a note of the model's formats beside the model.
"""

from __future__ import annotations

import os
from collections.abc import Collection

from mlflow_model_server.runtime.termination import StartupError
from mlflow_model_server.settings import Settings

_VARIABLE = "MLFLOW_ALLOW_PICKLE_DESERIALIZATION"
# With these MLflow would load pickles whatever that says.
_MANAGED_RUNTIMES = ("DATABRICKS_RUNTIME_VERSION", "IS_IN_DB_MODEL_SERVING_ENV")
_NOTE = "formats"


def forget(settings: Settings) -> None:
    """Removes the note of another model."""
    (settings.model_dir / _NOTE).unlink(missing_ok=True)


def note(settings: Settings, formats: Collection[str]) -> None:
    """Leaves the formats of the prepared model for the server."""
    (settings.model_dir / _NOTE).write_text(" ".join(sorted(formats)), encoding="utf-8")


def apply(settings: Settings) -> None:
    """Sets MLflow's switch in this process' environment.

    Raises StartupError with PolicyDenied where formats are restricted and those of the prepared
    model were not checked, or are others.
    """
    if not settings.allowed_formats:
        return
    path = settings.model_dir / _NOTE
    formats = path.read_text(encoding="utf-8").split() if path.is_file() else []
    if not formats or not set(formats) <= set(settings.allowed_formats):
        raise StartupError(
            "PolicyDenied",
            "The formats of the model's files were not checked, but only "
            f"{', '.join(settings.allowed_formats)} are allowed: prepare the model "
            "again",
        )
    if settings.forbids_pickle:
        for name in _MANAGED_RUNTIMES:
            os.environ.pop(name, None)
        # With the switch MLflow refuses skops as well, whose types `prepare` has looked at.
        if "skops" not in formats:
            os.environ[_VARIABLE] = "false"
