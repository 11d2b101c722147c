"""A real MLflow tracking server as a plain process on this machine: SQLite, proxied artifacts."""

from __future__ import annotations

import base64
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import requests
from mlflow.models import Model, ModelSignature

from tests.integration.control_plane import (
    _wait_until_healthy,
    end_session,
    free_port,
    process,
)

READY_WITHIN = 180.0  # seconds; it creates its tables first


@dataclass
class TrackingServer:
    """A running tracking server, and what tests do to its registry."""

    url: str

    def register(self, name: str, versions: int = 1) -> None:
        """Registers a model with so many versions, which have no files."""
        self._post("registered-models/create", {"name": name})
        for _ in range(versions):
            self._post("model-versions/create", {"name": name, "source": "s3://models/none"})

    def register_with_signature(self, name: str, *signatures: ModelSignature) -> None:
        """Registers a model with a version for each signature, of which there is the MLmodel file.

        To be called once for a name.
        """
        self.register_with_files(name, *(Model(signature=each).to_yaml() for each in signatures))

    def register_with_files(self, name: str, *mlmodels: str) -> str:
        """Registers a model with a version for each MLmodel file; returns the last one's run.

        To be called once for a name.
        """
        self._post("registered-models/create", {"name": name})
        for text in mlmodels:
            run = self._post("runs/create", {"experiment_id": "0"})["run"]["info"]
            root = run["artifact_uri"].removeprefix("mlflow-artifacts:/")
            url = f"{self.url}/api/2.0/mlflow-artifacts/artifacts/{root}/model/MLmodel"
            requests.put(url, data=text.encode(), timeout=30).raise_for_status()
            source = {"source": f"{run['artifact_uri']}/model", "run_id": run["run_id"]}
            self._post("model-versions/create", {"name": name, **source})
        return str(run["run_id"])

    def point(self, name: str, alias: str, version: str) -> None:
        """Sets an alias."""
        self._post("registered-models/alias", {"name": name, "alias": alias, "version": version})

    def tag(self, name: str, version: str, key: str, value: str) -> None:
        """Sets a tag on a version."""
        body = {"name": name, "version": version, "key": key, "value": value}
        self._post("model-versions/set-tag", body)

    def drop_alias(self, name: str, alias: str) -> None:
        """Deletes an alias."""
        response = requests.delete(
            f"{self.url}/api/2.0/mlflow/registered-models/alias",
            json={"name": name, "alias": alias},
            timeout=30,
        )
        response.raise_for_status()

    def tags(self, name: str, version: str) -> dict[str, str]:
        """The tags of a version."""
        response = requests.get(
            f"{self.url}/api/2.0/mlflow/model-versions/get",
            params={"name": name, "version": version},
            timeout=30,
        )
        response.raise_for_status()
        tags = response.json()["model_version"].get("tags", [])
        return {tag["key"]: tag["value"] for tag in tags}

    def alias(self, name: str, alias: str) -> str | None:
        """The version that has an alias; None where none has."""
        response = requests.get(
            f"{self.url}/api/2.0/mlflow/registered-models/get", params={"name": name}, timeout=30
        )
        response.raise_for_status()
        entries = response.json()["registered_model"].get("aliases", [])
        return next((entry["version"] for entry in entries if entry["alias"] == alias), None)

    def _post(self, path: str, body: dict[str, str]) -> Any:
        url = f"{self.url}/api/2.0/mlflow/{path}"
        response = requests.post(url, json=body, timeout=30)
        response.raise_for_status()
        return response.json()


@contextmanager
def tracking_server(
    folder: Path, port: int | None = None, python: str = sys.executable
) -> Iterator[TrackingServer]:
    """Runs an MLflow server on 127.0.0.1 until the end of the block; `python` has its MLflow."""
    port = port or free_port()
    url = f"http://127.0.0.1:{port}"
    command = [
        python,
        "-m",
        "mlflow",
        "server",
        "--host=127.0.0.1",
        f"--port={port}",
        f"--backend-store-uri=sqlite:///{folder / 'mlflow.db'}",
        f"--artifacts-destination={folder / 'artifacts'}",
        "--serve-artifacts",
        "--workers=1",
    ]
    os.environ |= {
        "MLFLOW_DISABLE_TELEMETRY": "true",
        "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
        # Webhooks to this machine, by http; who receives them is looked up each time.
        "MLFLOW_WEBHOOK_ALLOWED_SCHEMES": "https,http",
        "MLFLOW_WEBHOOK_ALLOW_PRIVATE_IPS": "true",
        "MLFLOW_WEBHOOK_SECRET_ENCRYPTION_KEY": base64.urlsafe_b64encode(bytes(32)).decode(),
        "MLFLOW_WEBHOOK_CACHE_TTL": "0",
    }
    # Older servers run gunicorn, by its name, and leave it behind.
    path = f"PATH={Path(python).parent}{os.pathsep}{os.environ['PATH']}"
    with process("mlflow", ["env", path, *command], folder, end_session) as running:
        _wait_until_healthy(running, f"{url}/health", requests.Session(), READY_WITHIN)
        yield TrackingServer(url)
