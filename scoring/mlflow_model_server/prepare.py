"""Fetches the model and installs what it needs: what the init container does."""

from __future__ import annotations

import logging
import shutil
import time
from pathlib import Path

from mlflow_model_server import environment
from mlflow_model_server.settings import Settings
from mlflow_model_server.termination import Failed, without_passwords

log = logging.getLogger(__name__)

TRIES = 3
PAUSE = 3.0  # seconds between tries


def prepare(settings: Settings) -> None:
    """Leaves the model in `settings.artifact` and its packages in `settings.packages`.

    Raises Failed with ArtifactUnreadable, InvalidModel or DependencyInstallFailed.
    """
    started = time.monotonic()
    fetch(settings)
    fetched = time.monotonic()
    log.info("fetched %s in %.1f s", without_passwords(settings.model_uri), fetched - started)
    environment.install(settings)
    log.info("packages are ready after %.1f s", time.monotonic() - fetched)


def fetch(settings: Settings) -> None:
    """Downloads the model; one on a mounted volume is used where it is."""
    shutil.rmtree(settings.artifact, ignore_errors=True)
    settings.artifact.unlink(missing_ok=True)
    local = _local_folder(settings.model_uri)
    if local is not None:
        _check_folder(local)
        settings.artifact.symlink_to(local)
    else:
        _download(settings)
    if not (settings.artifact / "MLmodel").is_file():
        raise Failed(
            "InvalidModel",
            f"{settings.model_uri} has no MLmodel file, so it is no MLflow model",
        )


def _local_folder(uri: str) -> Path | None:
    if uri.startswith("/"):
        return Path(uri)
    if uri.startswith("file:"):
        return Path("/" + uri.removeprefix("file:").lstrip("/"))
    return None


def _check_folder(folder: Path) -> None:
    if not folder.is_dir():
        raise Failed(
            "ArtifactUnreadable",
            f"There is no folder {folder}: mount the volume that holds the model",
        )


def _download(settings: Settings) -> None:
    import mlflow.artifacts

    for attempt in range(1, TRIES + 1):
        folder = settings.model_dir / f"download-{attempt}"
        folder.mkdir(parents=True, exist_ok=True)
        try:
            path = mlflow.artifacts.download_artifacts(settings.model_uri, dst_path=str(folder))
            Path(path).rename(settings.artifact)
            return
        # MLflow's stores raise whatever their libraries do: botocore's, requests', OSErrors.
        except Exception as error:
            log.warning("fetching failed (try %d of %d): %s", attempt, TRIES, error)
            if attempt == TRIES:
                raise Failed(
                    "ArtifactUnreadable",
                    f"{settings.model_uri} can't be fetched: {type(error).__name__}: {error}",
                ) from error
            time.sleep(PAUSE)
