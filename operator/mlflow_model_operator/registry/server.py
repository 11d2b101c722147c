"""One MLflow tracking server: the few questions that we ask it, and what its refusals mean.

It blocks: call it from a thread.
"""

from __future__ import annotations

import json
import logging
import re
from collections.abc import Iterable, Iterator
from typing import Any

from mlflow_model_operator.registry.client import Client, Unreachable
from mlflow_model_operator.registry.meaning import (
    Answer,
    Facts,
    Failure,
    LoggedModelLookup,
    Lookup,
    ModelLookup,
    RegisteredModel,
    RunLookup,
    VersionFacts,
    VersionLookup,
)

log = logging.getLogger(__name__)

Artifact = tuple[str, dict[str, str]]  # the path and the query that bring a file

API = "/api/2.0/mlflow"
# Of a run that has logged many models, so many are looked at.
MOST_OUTPUTS = 10

UNREACHABLE = "RegistryUnreachable"
UNAUTHORIZED = "RegistryUnauthorized"
HOST_REJECTED = "RegistryHostRejected"
REGISTRY_ERROR = "RegistryError"
# What can pass without anybody changing the model URI or the registry's content.
TRANSIENT = frozenset({UNREACHABLE, UNAUTHORIZED, HOST_REJECTED, REGISTRY_ERROR})

# What reading an answer of another shape raises.
_MALFORMED = (KeyError, TypeError, ValueError, AttributeError)
# What a gateway or an overloaded server answers, whatever is asked.
_OVERLOADED = frozenset({429, 502, 503, 504})
_READY = frozenset({"READY", "LOGGED_MODEL_READY", "LOGGED_MODEL_STATUS_UNSPECIFIED"})
# MLmodel is YAML, but it comes from anybody who may register a model, and hostile YAML can take
# all memory or time: so the one line is looked for, in the shape in which MLflow writes it, and
# only near the beginning, where MLflow writes it.
MAX_MLMODEL_BYTES = 65_536
_PYTHON_VERSION = re.compile(r"'?(\d{1,3}\.\d{1,3}[\w.]{0,40})'?")


class _Refused(Exception):
    def __init__(self, failure: Failure) -> None:
        super().__init__(failure.message)
        self.failure = failure


class TrackingServer:
    """A tracking server by its URI. `trusted`: it may be sent the operator's own credentials."""

    def __init__(self, uri: str, *, trusted: bool) -> None:
        self.uri = uri
        self._client = Client(uri, trusted=trusted)

    def ask(self, lookup: Lookup) -> Answer:
        """Sends the requests of one lookup; a failure is an answer too."""
        try:
            return self._ask(lookup)
        except _Refused as refused:
            return refused.failure
        except _MALFORMED:
            log.debug("%s answered %s strangely", self.uri, lookup, exc_info=True)
            return self._no_mlflow()

    def _ask(self, lookup: Lookup) -> Facts:
        match lookup:
            case ModelLookup(name):
                return self._registered_model(name)
            case VersionLookup(name, version):
                return self._version(name, version)
            case LoggedModelLookup(model_id):
                return self._logged_model(model_id)
            case RunLookup(run_id, path):
                return self._run(run_id, path)

    def _registered_model(self, name: str) -> RegisteredModel:
        what = f"registered model {name!r}"
        missing = Failure(
            "ModelNotFound",
            f"{self.uri} has no {what}: register it, or correct the name in the model URI",
        )
        answer = self._json("/registered-models/get", {"name": name}, what, missing)
        model = answer["registered_model"]
        versions = model.get("latest_versions", [])
        return RegisteredModel(
            aliases={entry["alias"]: entry["version"] for entry in model.get("aliases", [])},
            stages={entry.get("current_stage", "None"): entry["version"] for entry in versions},
            latest=max((entry["version"] for entry in versions), key=int, default=None),
        )

    def _version(self, name: str, version: str) -> VersionFacts:
        what = f"version {version} of the registered model {name!r}"
        missing = Failure(
            "VersionNotFound", f"{self.uri} has no {what}: register it, or name another version"
        )
        query = {"name": name, "version": version}
        answer = self._json("/model-versions/get", query, what, missing)["model_version"]
        self._check_ready(answer, what)
        mlmodel = ("/model-versions/get-artifact", {**query, "path": "MLmodel"})
        return VersionFacts(self._python_version([mlmodel]))

    def _logged_model(self, model_id: str) -> VersionFacts:
        what = f"logged model {model_id!r}"
        missing = Failure(
            "LoggedModelNotFound",
            f"{self.uri} has no {what}: correct the id in the model URI",
        )
        answer = self._json(f"/logged-models/{model_id}", {}, what, missing)
        self._check_ready(answer["model"]["info"], what)
        return VersionFacts(self._python_version([_logged_mlmodel(model_id)]))

    def _run(self, run_id: str, path: str) -> VersionFacts:
        """Whether the run has a model at `path` is for the pods to see."""
        what = f"run {run_id!r}"
        missing = Failure(
            "RunNotFound", f"{self.uri} has no {what}: correct the id in the model URI"
        )
        run = self._json("/runs/get", {"run_id": run_id}, what, missing)["run"]
        return VersionFacts(self._python_version(self._run_mlmodels(run, run_id, path.strip("/"))))

    def _run_mlmodels(self, run: dict[str, Any], run_id: str, path: str) -> Iterator[Artifact]:
        yield "/get-artifact", {"run_id": run_id, "path": f"{path}/MLmodel"}
        # Since MLflow 3 a run's model is a logged model of that name, and no artifact of the run.
        outputs = run.get("outputs", {}).get("model_outputs", [])
        for output in outputs[:MOST_OUTPUTS]:
            model_id = str(output["model_id"])
            logged = self._json(f"/logged-models/{model_id}", {}, f"logged model {model_id!r}")
            if logged["model"]["info"]["name"] == path:
                yield _logged_mlmodel(model_id)

    def _check_ready(self, answer: dict[str, Any], what: str) -> None:
        status = answer.get("status", "READY")
        if status not in _READY:
            why = answer.get("status_message") or "its registration is not complete"
            raise _Refused(
                Failure(
                    "VersionNotReady",
                    f"The {what} on {self.uri} is {status} ({why[:200]}): it is served once it is "
                    "ready; if it stays so, register it again or name another",
                )
            )

    def _json(
        self, path: str, query: dict[str, str], what: str, missing: Failure | None = None
    ) -> dict[str, Any]:
        status, body = self._get(f"{API}{path}", query)
        if status != 200:
            raise _Refused(self._refusal(status, body, what, missing))
        try:
            answer = json.loads(body)
        except ValueError:
            raise _Refused(self._no_mlflow()) from None
        return dict(answer)

    def _refusal(self, status: int, body: bytes, what: str, missing: Failure | None) -> Failure:
        code, message = _error_fields(body)
        if code == "RESOURCE_DOES_NOT_EXIST" and missing:
            return missing
        if status == 403 and b"Invalid Host header" in body:
            return self._failure(
                HOST_REJECTED,
                "refuses its own host name: start it with MLFLOW_SERVER_ALLOWED_HOSTS naming that "
                "host, as clients inside the cluster write it",
                of_server=True,
            )
        if status == 401:
            return self._failure(UNAUTHORIZED, self._login_help(), of_server=True)
        if status == 403:
            return self._failure(
                UNAUTHORIZED,
                f"does not let the operator read the {what} (403): grant its user READ on it",
            )
        if 300 <= status < 400:
            return self._failure(
                REGISTRY_ERROR, "redirects elsewhere: write that address as the tracking URI", True
            )
        if status == 404:
            return self._failure(
                REGISTRY_ERROR,
                f"answers 404 when asked for the {what}, so it is no MLflow server, or one too "
                "old to know of such: correct the tracking URI",
            )
        said = f": {message[:300]}" if message else ", and does not say why"
        return self._failure(
            REGISTRY_ERROR,
            f"answers {status}{said}; its log tells more",
            of_server=status in _OVERLOADED,
        )

    def _login_help(self) -> str:
        if self._client.trusted:
            return (
                "asks for other credentials (401): give the operator a user or token that may read "
                "the registry (chart value trackingCredentialsSecret)"
            )
        return (
            "asks for credentials (401), and the operator sends its own to its own tracking server "
            "only: make this server the operator's (chart value trackingUri), or let it be read "
            "without"
        )

    def _no_mlflow(self) -> Failure:
        return self._failure(
            REGISTRY_ERROR, "answers, but not as MLflow does: correct the tracking URI", True
        )

    def _python_version(self, artifacts: Iterable[Artifact]) -> str | None:
        """From the first MLmodel file that can be read; if none can, pods will say why."""
        try:
            for path, query in artifacts:
                status, body = self._get(path, query, first=MAX_MLMODEL_BYTES)
                if status == 200:
                    return python_version(body.decode(errors="replace"))
        except (_Refused, *_MALFORMED):
            log.debug("no Python version from %s", self.uri, exc_info=True)
        return None

    def _get(self, path: str, query: dict[str, str], first: int | None = None) -> tuple[int, bytes]:
        try:
            return self._client.get(path, query, first=first)
        except Unreachable as error:
            what = f"can't be reached: {error}"
            raise _Refused(self._failure(UNREACHABLE, what, of_server=True)) from error

    def _failure(self, reason: str, what: str, of_server: bool = False) -> Failure:
        return Failure(reason, f"The tracking server {self.uri} {what}", of_server)


def python_version(mlmodel: str) -> str | None:
    """The Python version that an MLmodel file names, like "3.11.7"."""
    in_flavor = False
    for line in mlmodel[:MAX_MLMODEL_BYTES].splitlines():
        if not line.startswith("   "):
            in_flavor = line == "  python_function:"
        elif in_flavor and line.startswith("    python_version: "):
            match = _PYTHON_VERSION.fullmatch(line.removeprefix("    python_version: "))
            if match:
                return match[1]
    return None


def _logged_mlmodel(model_id: str) -> Artifact:
    path = f"/ajax-api/2.0/mlflow/logged-models/{model_id}/artifacts/files"
    return path, {"artifact_file_path": "MLmodel"}


def _error_fields(body: bytes) -> tuple[str, str]:
    """MLflow's error code and message; empty where the answer is none of MLflow's."""
    try:
        fields = json.loads(body)
        return str(fields.get("error_code", "")), str(fields.get("message", ""))
    except (ValueError, AttributeError):
        return "", ""
