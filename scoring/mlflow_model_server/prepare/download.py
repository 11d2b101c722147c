"""Fetches a model version from wherever MLflow keeps it."""

from __future__ import annotations

import logging
import os
import shutil
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import yaml

from mlflow_model_server.prepare import download_errors, source
from mlflow_model_server.runtime.termination import StartupError, bounded, redact_urls
from mlflow_model_server.settings import Settings

log = logging.getLogger(__name__)

PAUSES = (1.0, 4.0)  # seconds before the second and the third try


def fetch(settings: Settings, pauses: Sequence[float] = PAUSES) -> dict[str, Any]:
    """Leaves the model in `settings.artifact`; returns the content of its MLmodel file.

    A model on a mounted volume is not copied. Raises StartupError with InvalidModel or one of the
    reasons of a download.
    """
    if not settings.model_uri:
        raise StartupError("ArtifactUnreadable", "MODEL_URI is not set: write the URI of a model")
    settings.model_dir.mkdir(parents=True, exist_ok=True)
    _remove(settings.artifact)
    folder = source.local_folder(settings.model_uri)
    if folder is None:
        source.check_uri(settings.model_uri)
        _download(settings, pauses)
    elif folder.is_dir():
        settings.artifact.symlink_to(folder)
    else:
        raise StartupError(
            "ArtifactUnreadable",
            f"There is no folder {folder} in the pod: mount the volume with the model there",
        )
    return read_mlmodel(settings)


def _download(settings: Settings, pauses: Sequence[float]) -> None:
    # For users who wait at a screen. The tries below come on top of MLflow's own.
    os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "2")
    _give_up_dead_connections()
    folder = settings.model_dir / "download"
    for pause in (*pauses, None):
        _remove(folder)
        try:
            source.check_destination(settings.model_uri)
            shutil.move(_downloaded(settings.model_uri, folder), settings.artifact)
            return
        except StartupError:
            raise
        # MLflow's stores raise whatever their libraries do: botocore's, requests', OSErrors.
        except Exception as error:
            if "Could not find a registered artifact repository" in str(error):
                raise source.unknown(settings.model_uri) from error
            if pause is None or download_errors.is_permanent(error):
                raise download_errors.explained(settings.model_uri, error) from error
            description = bounded(redact_urls(download_errors.description(error)))
            log.warning("download failed, trying again in %g s: %s", pause, description)
            time.sleep(pause)
        finally:
            _remove(folder)


def _give_up_dead_connections() -> None:
    # Imported here: it loads MLflow, which a model on a volume does not need.
    from mlflow_model_server.prepare.connections import give_up_dead_connections

    give_up_dead_connections()


def _downloaded(uri: str, folder: Path) -> str:
    """Downloads into `folder`; returns where the model is in it."""
    import mlflow.artifacts

    if urlsplit(uri).scheme != "gs":
        return str(mlflow.artifacts.download_artifacts(uri, dst_path=str(folder)))
    # There MLflow looks for the last folder in what is before it, and where that is the bucket
    # itself, as in gs://models/wine, loses the first letter of each name (3.17.2).
    from mlflow.store.artifact.artifact_repository_registry import get_artifact_repository

    folder.mkdir()
    return str(get_artifact_repository(uri).download_artifacts("", dst_path=str(folder)))


def read_mlmodel(settings: Settings) -> dict[str, Any]:
    """The content of the fetched model's MLmodel file. Raises StartupError as `fetch` does."""
    uri = settings.model_uri
    content = _parsed(uri, _mlmodel_text(settings))
    flavors = content.get("flavors") if isinstance(content, dict) else None
    if not isinstance(flavors, dict) or not isinstance(flavors.get("python_function"), dict):
        names = ", ".join(map(str, flavors)) if isinstance(flavors, dict) else ""
        raise StartupError(
            "InvalidModel",
            f"{uri} has no python_function flavor (its flavors: {names or 'none'}), so MLflow "
            "can't serve it",
        )
    return dict(content)


def _mlmodel_text(settings: Settings) -> str:
    uri = settings.model_uri
    try:
        return (settings.artifact / "MLmodel").read_text(encoding="utf-8")
    except FileNotFoundError:
        raise _without_mlmodel(settings) from None
    except OSError as error:
        raise StartupError("ArtifactUnreadable", f"{uri} can't be read: {error.strerror}") from None
    except UnicodeDecodeError:
        raise StartupError(
            "InvalidModel", f"The MLmodel file of {uri} is not UTF-8: save it as UTF-8"
        ) from None


def _parsed(uri: str, text: str) -> Any:
    try:
        return yaml.safe_load(text)
    # Of dates that don't exist or nesting without end, others than YAMLError tell. None is
    # repeated: they quote the file.
    except (yaml.YAMLError, ValueError, OverflowError, RecursionError) as error:
        mark = getattr(error, "problem_mark", None)
        place = f": see line {mark.line + 1}" if mark else ""
        raise StartupError(
            "InvalidModel", f"The MLmodel file of {uri} is not YAML{place}"
        ) from None


def _without_mlmodel(settings: Settings) -> StartupError:
    # An object store has no folders: one whose files are gone looks like one that is empty.
    if next(settings.artifact.iterdir(), None) is None:
        return StartupError(
            "ArtifactUnreadable",
            f"There are no files at {settings.model_uri}: they were deleted or never stored",
        )
    return StartupError(
        "InvalidModel", f"{settings.model_uri} has no MLmodel file, so it is not an MLflow model"
    )


def _remove(path: Path) -> None:
    if path.is_symlink():
        path.unlink()
    else:
        shutil.rmtree(path, ignore_errors=True)
