"""Where a model is really downloaded from, and whether that may get the tracking server's password.

A model version's source is written by whoever registered it, and MLflow sends the tracking server's
credentials to whatever HTTP server the source names.
"""

from __future__ import annotations

import os
from pathlib import Path
from urllib.parse import SplitResult, unquote, urlsplit

from mlflow_model_server.runtime.termination import StartupError

_ON_TRACKING_SERVER = ("models", "runs", "mlflow-artifacts")
_PORTS = {"http": 80, "https": 443}
_MAX_STEPS = 10  # from a registered model by a logged model or a run to a storage
_EXAMPLES = (
    "write models:/<name>/<version>, models:/m-<id>, runs:/<id>/<path>, mlflow-artifacts:/<path>, "
    "a URI of a storage like s3://<bucket>/<path> or gs://<bucket>/<path>, or the path of a "
    "mounted volume"
)


def local_folder(uri: str) -> Path | None:
    """The folder of a plain path or a file: URI."""
    if uri.startswith("/"):
        return Path(uri)
    parts = _split(uri)
    return Path(unquote(parts.path)) if parts.scheme == "file" else None


def check_uri(uri: str) -> None:
    """Raises StartupError for a URI that MLflow can't download from, whatever is there."""
    parts = _split(uri)
    if parts.scheme in _ON_TRACKING_SERVER:
        # Without a server, MLflow would look into a database file in the working directory.
        if not parts.netloc and not os.environ.get("MLFLOW_TRACKING_URI"):
            raise _unreadable(
                f"{uri} is known only to an MLflow server: set MLFLOW_TRACKING_URI to its address"
            )
        return
    if parts.scheme == "" or (
        parts.scheme in ("http", "https") and "/mlflow-artifacts/artifacts/" not in parts.path
    ):
        raise unknown(uri)
    if parts.scheme == "dbfs" and not _tracking_uri().startswith("databricks"):
        raise _unreadable(
            f"{uri} is a file of Databricks: set MLFLOW_TRACKING_URI=databricks, DATABRICKS_HOST "
            "and DATABRICKS_TOKEN, or copy the model to another storage"
        )


def check_destination(uri: str) -> None:
    """Asks the tracking server where the model is; raises StartupError for another HTTP server.

    Raises whatever MLflow raises where it can't be asked.
    """
    for _ in range(_MAX_STEPS):
        parts = _split(uri)
        if parts.scheme in ("http", "https", "mlflow-artifacts"):
            _check_host(uri, parts)
        if parts.scheme not in ("models", "runs") or _tracking_uri().startswith("databricks"):
            return
        uri = _underlying(uri, parts.scheme)
    raise _unreadable("The model's source refers to itself: register the model again")


def unknown(uri: str) -> StartupError:
    """The refusal of a URI that nothing in MLflow reads."""
    return _unreadable(f"{uri} is not a URI that MLflow can download: {_EXAMPLES}")


def _check_host(uri: str, parts: SplitResult) -> None:
    proxied = parts.scheme == "mlflow-artifacts"
    if proxied and not parts.netloc:
        return
    server = _split(_tracking_uri())
    # MLflow asks another host by the tracking server's own scheme.
    theirs = _origin(parts._replace(scheme=server.scheme) if proxied else parts)
    if theirs != _origin(server):
        raise _unreadable(
            f"{uri} is not on the tracking server, and MLflow would send the tracking server's "
            "credentials there: register the model from the tracking server's own artifacts or "
            "from a storage"
        )


def _origin(parts: SplitResult) -> tuple[str, str | None, int | None]:
    try:
        port = parts.port
    except ValueError:
        port = -1  # nobody's
    return parts.scheme, parts.hostname, port if port is not None else _PORTS.get(parts.scheme)


def _underlying(uri: str, scheme: str) -> str:
    from mlflow.store.artifact.models_artifact_repo import ModelsArtifactRepository
    from mlflow.store.artifact.runs_artifact_repo import RunsArtifactRepository

    if scheme == "runs":
        return str(RunsArtifactRepository.get_underlying_uri(uri))
    return str(ModelsArtifactRepository.get_underlying_uri(uri))


def _tracking_uri() -> str:
    return os.environ.get("MLFLOW_TRACKING_URI", "")


def _split(uri: str) -> SplitResult:
    try:
        return urlsplit(uri)
    except ValueError as error:
        raise _unreadable(f"{uri} is not a URI: {error}") from None


def _unreadable(message: str) -> StartupError:
    return StartupError("ArtifactUnreadable", message)
