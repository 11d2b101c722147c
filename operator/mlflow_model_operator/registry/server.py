"""One MLflow tracking server: the few questions that we ask it, and what its refusals mean.

The requests go through MLflow's own client code, so that whatever MLflow knows of authentication,
certificates and header plugins works here too. It blocks: call it from a thread.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Any

import yaml

from mlflow_model_operator.domain import ResolutionError

API = "/api/2.0/mlflow"
TIMEOUT = 10  # seconds for one request; a registry answers in milliseconds
MOST_MLMODEL_BYTES = 5_000_000

# What can pass by itself, without anybody changing the model URI or the registry's content.
UNREACHABLE = "RegistryUnreachable"
UNAUTHORIZED = "RegistryUnauthorized"
HOST_REJECTED = "RegistryHostRejected"
REGISTRY_ERROR = "RegistryError"


@dataclass(frozen=True)
class RegisteredModel:
    """A registered model's moving names, as one request brings them."""

    aliases: dict[str, str] = field(default_factory=dict)  # alias → version
    stages: dict[str, str] = field(default_factory=dict)  # stage → newest version in it
    latest: str | None = None


@dataclass(frozen=True)
class VersionFacts:
    """What never changes about a version, a logged model or a run's model."""

    python_version: str | None = None


class TrackingServer:
    """A tracking server by its URI. `trusted`: it may be sent the operator's own credentials."""

    def __init__(self, uri: str, *, trusted: bool) -> None:
        self.uri = uri
        self._trusted = trusted
        self._credentials: Any = None

    def registered_model(self, name: str) -> RegisteredModel:
        """Aliases, stages and the newest version of a registered model."""
        missing = ResolutionError(
            "ModelNotFound",
            f"{self.uri} has no registered model {name!r}: register it, or correct the name in the "
            "model URI",
        )
        answer = self._ask("/registered-models/get", {"name": name}, missing)
        model = answer["registered_model"]
        versions = model.get("latest_versions", [])
        return RegisteredModel(
            aliases={entry["alias"]: entry["version"] for entry in model.get("aliases", [])},
            stages={entry.get("current_stage", "None"): entry["version"] for entry in versions},
            latest=max((entry["version"] for entry in versions), key=int, default=None),
        )

    def version(self, name: str, version: str) -> VersionFacts:
        """Checks that a version is there and ready to be served."""
        missing = ResolutionError(
            "VersionNotFound",
            f"{self.uri} has no version {version} of the registered model {name!r}: register it, "
            "or name another version",
        )
        query = {"name": name, "version": version}
        answer = self._ask("/model-versions/get", query, missing)["model_version"]
        status = answer.get("status", "READY")
        if status != "READY":
            why = answer.get("status_message") or "its registration is not complete"
            raise ResolutionError(
                "VersionNotReady", f"Version {version} of {name!r} is {status}: {why}"
            )
        mlmodel = self._mlmodel("/model-versions/get-artifact", {**query, "path": "MLmodel"})
        return VersionFacts(_python_version(mlmodel))

    def logged_model(self, model_id: str) -> VersionFacts:
        """Checks that a logged model (MLflow 3) is there."""
        missing = ResolutionError(
            "LoggedModelNotFound",
            f"{self.uri} has no logged model {model_id!r}: correct the id in the model URI",
        )
        self._ask(f"/logged-models/{model_id}", {}, missing)
        path = f"/ajax-api/2.0/mlflow/logged-models/{model_id}/artifacts/files"
        return VersionFacts(_python_version(self._mlmodel(path, {"artifact_file_path": "MLmodel"})))

    def run(self, run_id: str, path: str) -> VersionFacts:
        """Checks that a run is there; whether it has a model at `path` is for the pods to see."""
        missing = ResolutionError(
            "RunNotFound", f"{self.uri} has no run {run_id!r}: correct the id in the model URI"
        )
        self._ask("/runs/get", {"run_id": run_id}, missing)
        query = {"run_uuid": run_id, "path": f"{path.strip('/')}/MLmodel"}
        return VersionFacts(_python_version(self._mlmodel("/get-artifact", query)))

    def _ask(self, path: str, query: dict[str, str], missing: ResolutionError) -> dict[str, Any]:
        response = self._get(f"{API}{path}", query)
        if response.status_code == 200:
            try:
                answer: dict[str, Any] = response.json()
            except ValueError:
                raise self._error(
                    REGISTRY_ERROR, "answers, but not as MLflow does: correct the tracking URI"
                ) from None
            return answer
        raise self._refusal(response, missing)

    def _refusal(self, response: Any, missing: ResolutionError) -> ResolutionError:
        status, text = response.status_code, response.text[:500]
        code, message = _error_fields(text)
        if code == "RESOURCE_DOES_NOT_EXIST":
            return missing
        if status == 403 and "Invalid Host header" in text:
            return self._error(
                HOST_REJECTED,
                "refuses its own host name: start it with MLFLOW_SERVER_ALLOWED_HOSTS naming that "
                "host, as clients inside the cluster write it",
            )
        if status in (401, 403):
            return self._error(
                UNAUTHORIZED,
                f"asks for other credentials ({status}): give the operator a user or token that "
                "may read the registry (chart value trackingCredentialsSecret); they are sent to "
                "the operator's own tracking server only",
            )
        if status == 404:
            return self._error(
                REGISTRY_ERROR, "answers 404, so it is no MLflow server: correct the tracking URI"
            )
        return self._error(REGISTRY_ERROR, f"answers {status}: {message or text or 'nothing'}")

    def _mlmodel(self, path: str, query: dict[str, str]) -> str | None:
        """The MLmodel file; None if it can't be read, which is for the pods to complain of."""
        try:
            response = self._get(path, query)
        except ResolutionError:
            return None
        is_fit = response.status_code == 200 and len(response.content) <= MOST_MLMODEL_BYTES
        return response.text if is_fit else None

    def _get(self, path: str, query: dict[str, str]) -> Any:
        from mlflow.exceptions import MlflowException
        from mlflow.utils.rest_utils import http_request

        try:
            return http_request(
                self._host_creds(),
                path,
                "GET",
                params=query,
                timeout=TIMEOUT,
                max_retries=1,
                backoff_factor=0,
                backoff_jitter=0,
                raise_on_status=False,
            )
        except MlflowException as error:
            raise self._error(UNREACHABLE, f"can't be reached: {_root_cause(error)}") from error

    def _host_creds(self) -> Any:
        from mlflow.utils.credentials import get_default_host_creds
        from mlflow.utils.rest_utils import MlflowHostCreds

        if self._credentials is None:
            make = get_default_host_creds if self._trusted else MlflowHostCreds
            self._credentials = make(self.uri)
        return self._credentials

    def _error(self, reason: str, what: str) -> ResolutionError:
        return ResolutionError(reason, f"The tracking server {self.uri} {what}")


def _error_fields(text: str) -> tuple[str, str]:
    try:
        body = json.loads(text)
        return str(body.get("error_code", "")), str(body.get("message", ""))
    except (ValueError, AttributeError):
        return "", ""


def _root_cause(error: BaseException) -> str:
    """The innermost reason, which names the refused connection or the unknown host."""
    while error.__context__ is not None:
        error = error.__context__
    text = str(error) or type(error).__name__
    return text.split("\n")[0][:200]


def _python_version(mlmodel: str | None) -> str | None:
    try:
        flavors = yaml.safe_load(mlmodel or "{}")["flavors"]
        version = flavors["python_function"]["python_version"]
    except (yaml.YAMLError, KeyError, TypeError):
        return None
    return str(version)
