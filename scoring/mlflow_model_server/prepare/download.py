"""Fetches a model version from wherever MLflow keeps it."""

from __future__ import annotations

import logging
import os
import re
import shutil
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import yaml

from mlflow_model_server.runtime.termination import StartupError, bounded, last_line, redact_urls
from mlflow_model_server.settings import Settings

log = logging.getLogger(__name__)

PAUSES = (1.0, 4.0)  # seconds before the second and the third try

# What MLflow's servers answer where trying again changes nothing.
_PERMANENT_CODES = {
    "BAD_REQUEST",
    "ENDPOINT_NOT_FOUND",
    "INVALID_PARAMETER_VALUE",
    "NOT_FOUND",
    "PERMISSION_DENIED",
    "RESOURCE_DOES_NOT_EXIST",
    "UNAUTHENTICATED",
}
_TRANSIENT_STATUSES = {408, 425, 429}


def fetch(settings: Settings, pauses: Sequence[float] = PAUSES) -> dict[str, Any]:
    """Leaves the model in `settings.artifact`; returns the content of its MLmodel file.

    A model on a mounted volume is not copied. Raises StartupError with ArtifactUnreadable or
    InvalidModel.
    """
    if not settings.model_uri:
        raise StartupError("ArtifactUnreadable", "MODEL_URI is not set: write the URI of a model")
    settings.model_dir.mkdir(parents=True, exist_ok=True)
    _remove(settings.artifact)
    folder = _local_folder(settings.model_uri)
    if folder is None:
        _require_tracking_uri(settings.model_uri)
        _download(settings, pauses)
    elif folder.is_dir():
        settings.artifact.symlink_to(folder)
    else:
        raise StartupError(
            "ArtifactUnreadable",
            f"There is no folder {folder} in the pod: mount the volume that holds the model there",
        )
    return _read_mlmodel(settings)


def _local_folder(uri: str) -> Path | None:
    """The folder of a plain path or a file: URI."""
    parts = urlsplit(uri)
    if uri.startswith("/"):
        return Path(uri)
    return Path(unquote(parts.path)) if parts.scheme == "file" else None


def _require_tracking_uri(uri: str) -> None:
    """Without one, MLflow would look into a database file in the working directory."""
    parts = urlsplit(uri)
    asks_server = parts.scheme in ("models", "runs", "mlflow-artifacts") and not parts.netloc
    if asks_server and not os.environ.get("MLFLOW_TRACKING_URI"):
        raise StartupError(
            "ArtifactUnreadable",
            f"{uri} is known to an MLflow server only: set MLFLOW_TRACKING_URI to its address",
        )


def _download(settings: Settings, pauses: Sequence[float]) -> None:
    # These are for somebody who waits at a screen; the tries below come on top of MLflow's own.
    os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "2")
    folder = settings.model_dir / "download"
    for pause in (*pauses, None):
        _remove(folder)
        try:
            shutil.move(_downloaded(settings.model_uri, folder), settings.artifact)
            return
        # MLflow's stores raise whatever their libraries do: botocore's, requests', OSErrors.
        except Exception as error:
            if pause is None or _is_permanent(error):
                raise StartupError(
                    "ArtifactUnreadable", f"{settings.model_uri} can't be fetched: {_told(error)}"
                ) from error
            told = bounded(redact_urls(_told(error)))
            log.warning("fetching failed, trying again in %g s: %s", pause, told)
            time.sleep(pause)
        finally:
            _remove(folder)


def _downloaded(uri: str, folder: Path) -> str:
    """Where it is afterwards, in `folder`."""
    import mlflow.artifacts

    if urlsplit(uri).scheme != "gs":
        return str(mlflow.artifacts.download_artifacts(uri, dst_path=str(folder)))
    # There MLflow looks for the last folder in what is before it, and where that is the bucket
    # itself, as in gs://models/wine, loses the first letter of each name (3.17.2).
    from mlflow.store.artifact.artifact_repository_registry import get_artifact_repository

    folder.mkdir()
    return str(get_artifact_repository(uri).download_artifacts("", dst_path=str(folder)))


def _told(error: BaseException) -> str:
    """What an error says, without the tags of the page that a proxy may have answered with."""
    return f"{type(error).__name__}: {re.sub(r'<[^<>]*>', ' ', str(error))}"


def _is_permanent(error: BaseException | None) -> bool:
    """Whether an error, or what caused it, says that trying again is of no use."""
    while error is not None:
        status = _http_status(error)
        if status is not None and 400 <= status < 500 and status not in _TRANSIENT_STATUSES:
            return True
        if getattr(error, "error_code", None) in _PERMANENT_CODES:
            return True
        if isinstance(error, ImportError | FileNotFoundError | PermissionError):
            return True
        error = error.__cause__
    return False


def _http_status(error: BaseException) -> int | None:
    """The status of a response that botocore, requests or Google's client made an error of."""
    response = getattr(error, "response", None)
    if isinstance(response, dict):
        status = response.get("ResponseMetadata", {}).get("HTTPStatusCode")
    else:
        status = getattr(response, "status_code", None) or getattr(error, "code", None)
    return status if isinstance(status, int) else None


def _read_mlmodel(settings: Settings) -> dict[str, Any]:
    uri = settings.model_uri
    try:
        text = (settings.artifact / "MLmodel").read_text(encoding="utf-8")
    except FileNotFoundError:
        raise _without_mlmodel(settings) from None
    except OSError as error:
        raise StartupError(
            "ArtifactUnreadable", f"{uri} can't be read: {last_line(error)}"
        ) from error
    try:
        content = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise StartupError(
            "InvalidModel", f"The MLmodel file of {uri} is not YAML: {error}"
        ) from error
    flavors = content.get("flavors") if isinstance(content, dict) else None
    if not isinstance(flavors, dict) or not isinstance(flavors.get("python_function"), dict):
        raise StartupError(
            "InvalidModel",
            f"{uri} has no python_function flavor (its flavors: "
            f"{', '.join(map(str, flavors or ())) or 'none'}), so MLflow can't serve it",
        )
    return dict(content)


def _without_mlmodel(settings: Settings) -> StartupError:
    # An object store has no folders: one whose files are gone looks like one that is empty.
    if next(settings.artifact.iterdir(), None) is None:
        return StartupError(
            "ArtifactUnreadable",
            f"There are no files at {settings.model_uri}: they were deleted or never stored",
        )
    return StartupError(
        "InvalidModel", f"{settings.model_uri} has no MLmodel file, so it is no MLflow model"
    )


def _remove(path: Path) -> None:
    if path.is_symlink():
        path.unlink()
    else:
        shutil.rmtree(path, ignore_errors=True)
