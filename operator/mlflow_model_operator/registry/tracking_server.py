"""One MLflow tracking server: the queries that it is sent, and what its refusals mean.

Nothing in a response is trusted, since anybody may name a server or register a model: versions and
ids have the form that MLflow gives them, other text is one short line, and what nobody follows is
not kept.
"""

from __future__ import annotations

import json
import logging
import re
from collections.abc import AsyncIterator, Iterable
from dataclasses import replace
from itertools import islice
from typing import Any

from mlflow_model_operator.api import uri as model_uri
from mlflow_model_operator.api.reasons import Reason
from mlflow_model_operator.api.text import single_line
from mlflow_model_operator.registry.http import (
    MAX_RESPONSE_BYTES,
    Client,
    Response,
    TooLarge,
    Unreachable,
)
from mlflow_model_operator.registry.mlmodel import read_signature
from mlflow_model_operator.registry.resolution import (
    Failure,
    LoggedModelQuery,
    Metadata,
    ModelQuery,
    Query,
    RegisteredModelMetadata,
    Result,
    RunQuery,
    VersionMetadata,
    VersionQuery,
    is_immutable,
)

log = logging.getLogger(__name__)

Artifact = tuple[str, dict[str, str]]  # the path and the query that bring a file

API = "/api/2.0/mlflow"
# Of a run that has logged many models, so many are looked at.
MAX_OUTPUTS = 10
# Of a version's tags no more are kept, and none that is longer, for key and value each.
MAX_TAGS = 64
MAX_TAG_LENGTH = 250  # characters
MAX_MESSAGE_LENGTH = 200  # characters of a server's own words

# What can pass without anybody changing the model URI or the registry's content.
TRANSIENT = frozenset(
    {
        Reason.REGISTRY_UNREACHABLE,
        Reason.REGISTRY_UNAUTHORIZED,
        Reason.REGISTRY_HOST_REJECTED,
        Reason.REGISTRY_ERROR,
    }
)

# What reading a response of another shape raises; RecursionError: brackets in brackets in brackets.
_MALFORMED = (KeyError, TypeError, ValueError, AttributeError, RecursionError)
# What a gateway or an overloaded server answers, whatever is asked.
_OVERLOADED = frozenset({429, 502, 503, 504})
_READY = frozenset({"READY", "LOGGED_MODEL_READY", "LOGGED_MODEL_STATUS_UNSPECIFIED"})
_VERSION = re.compile(r"[0-9]{1,18}")
_MODEL_ID = re.compile(r"m-[0-9A-Za-z]{1,64}")
_CONSTANT = re.compile(r"[A-Z][A-Z_]{1,63}")  # MLflow's names of errors and of statuses
# MLmodel is YAML, but it comes from anybody who may register a model, and hostile YAML can take
# all memory or time: so the one line is looked for, in the shape in which MLflow writes it, and
# only near the beginning, where MLflow writes it.
MAX_MLMODEL_BYTES = 65_536
# Loaders that read no pickled objects, but for those that write them for some of their models.
_DATA_LOADERS = {"mlflow.catboost", "mlflow.lightgbm", "mlflow.onnx", "mlflow.xgboost"}
_PYTHON_VERSION = re.compile(r"'?(\d{1,3}\.\d{1,3}[\w.]{0,40})'?")


class _Refused(Exception):
    def __init__(self, failure: Failure) -> None:
        super().__init__(failure.message)
        self.failure = failure


class TrackingServer:
    """A tracking server, asked through `client`."""

    def __init__(self, client: Client) -> None:
        self.uri = client.uri
        self._client = client

    async def execute(
        self, query: Query, aliases: Iterable[str] = (), previous: Metadata | None = None
    ) -> Result:
        """Sends the requests of one query; a failure is a result too.

        Of a registered model's aliases only `aliases` are read. `previous` is what the query has
        brought before: of a version that is still the same, no files are read again.
        """
        try:
            return await self._execute(query, aliases, previous)
        except _Refused as refused:
            return refused.failure
        except _MALFORMED:
            log.debug("unexpected response of %s to %s", self.uri, query, exc_info=True)
            return self._not_mlflow()

    async def close(self) -> None:
        """Closes the connections."""
        await self._client.close()

    async def _execute(
        self, query: Query, aliases: Iterable[str], previous: Metadata | None
    ) -> Metadata:
        before = previous if isinstance(previous, VersionMetadata) else None
        if before is not None and is_immutable(query) and not before.is_read_due:
            return before.polled()
        match query:
            case ModelQuery(name):
                return await self._registered_model(name, aliases)
            case VersionQuery(name, version):
                return await self._version(name, version, before)
            case LoggedModelQuery(model_id):
                return await self._logged_model(model_id, before)
            case RunQuery(run_id, path):
                return await self._run(run_id, path, before)

    async def _registered_model(self, name: str, aliases: Iterable[str]) -> RegisteredModelMetadata:
        subject = f"registered model {name!r}"
        missing = self._failure(
            Reason.MODEL_NOT_FOUND,
            f"has no {subject}: register it, or correct the name in the model URI",
        )
        response = await self._json("/registered-models/get", {"name": name}, subject, missing)
        model = response["registered_model"]
        versions = {entry["alias"]: entry["version"] for entry in model.get("aliases", [])}
        latest = {
            entry.get("current_stage", "None"): _version_number(entry["version"])
            for entry in model.get("latest_versions", [])
        }
        return RegisteredModelMetadata(
            aliases={
                alias: _version_number(versions[alias]) if alias in versions else None
                for alias in aliases
            },
            stages={stage: latest[stage] for stage in model_uri.STAGES if stage in latest},
            latest=max(latest.values(), key=int, default=None),
        )

    async def _version(
        self, name: str, version: str, previous: VersionMetadata | None
    ) -> VersionMetadata:
        subject = f"version {version} of registered model {name!r}"
        missing = self._failure(
            Reason.VERSION_NOT_FOUND, f"has no {subject}: register it, or use another version"
        )
        query = {"name": name, "version": version}
        response = await self._json("/model-versions/get", query, subject, missing)
        entry = response["model_version"]
        self._check_ready(entry, subject)
        current = VersionMetadata(None, _logged_model_id(entry), _created(entry), _tags(entry))
        if previous is not None and not previous.is_same(current):
            previous = None
        if previous is not None and not previous.is_read_due:
            return replace(previous.polled(), tags=current.tags)
        artifact = ("/model-versions/get-artifact", {**query, "path": "MLmodel"})
        mlmodel = await self._mlmodel(artifact) or await self._source_mlmodel(entry)
        return replace(
            _version_metadata(mlmodel, previous),
            model_id=current.model_id,
            created=current.created,
            tags=current.tags,
        )

    async def _source_mlmodel(self, version: Any) -> str | None:
        """From the run that a version names as its source; the version has no such file then."""
        try:
            source = model_uri.parse(version.get("source") or "")
        except model_uri.InvalidModelUri:
            return None
        if not isinstance(source, model_uri.RunModel):
            return None
        path = f"{source.path.strip('/')}/MLmodel"
        return await self._mlmodel(("/get-artifact", {"run_id": source.run_id, "path": path}))

    async def _logged_model(
        self, model_id: str, previous: VersionMetadata | None
    ) -> VersionMetadata:
        subject = f"logged model {model_id!r}"
        missing = self._failure(
            Reason.LOGGED_MODEL_NOT_FOUND, f"has no {subject}: correct the id in the model URI"
        )
        response = await self._json(f"/logged-models/{model_id}", {}, subject, missing)
        self._check_ready(response["model"]["info"], subject)
        return _version_metadata(await self._mlmodel(_logged_mlmodel(model_id)), previous)

    async def _run(
        self, run_id: str, path: str, previous: VersionMetadata | None
    ) -> VersionMetadata:
        """Whether the run has a model at `path` is for the pods to find out."""
        subject = f"run {run_id!r}"
        missing = self._failure(
            Reason.RUN_NOT_FOUND, f"has no {subject}: correct the id in the model URI"
        )
        run = (await self._json("/runs/get", {"run_id": run_id}, subject, missing))["run"]
        return _version_metadata(await self._run_mlmodel(run, run_id, path.strip("/")), previous)

    async def _run_mlmodel(self, run: Any, run_id: str, path: str) -> str | None:
        artifact = ("/get-artifact", {"run_id": run_id, "path": f"{path}/MLmodel"})
        text = await self._mlmodel(artifact)
        if text is not None:
            return text
        try:
            async for logged in self._logged_mlmodels(run, path):
                return await self._mlmodel(logged)
        except (_Refused, *_MALFORMED):
            log.debug("could not read the logged models of %s", self.uri, exc_info=True)
        return None

    async def _logged_mlmodels(self, run: Any, path: str) -> AsyncIterator[Artifact]:
        """Since MLflow 3 a run's model is a logged model of that name, no artifact of the run."""
        outputs = run.get("outputs", {}).get("model_outputs", [])
        for output in outputs[:MAX_OUTPUTS]:
            model_id = _matching(_MODEL_ID, output["model_id"])
            logged = await self._json(f"/logged-models/{model_id}", {}, f"model {model_id!r}")
            if logged["model"]["info"]["name"] == path:
                yield _logged_mlmodel(model_id)

    def _check_ready(self, response: dict[str, Any], subject: str) -> None:
        status = response.get("status", "READY")
        if status not in _READY:
            state = _matching(_CONSTANT, status)
            why = _own_words(response.get("status_message")) or "its registration is not complete"
            raise _Refused(
                self._failure(
                    Reason.VERSION_NOT_READY,
                    f"reports {subject} as {state} ({why}): it is served once it is ready; if it "
                    "stays in this state, register it again or use another version",
                )
            )

    async def _json(
        self, path: str, query: dict[str, str], subject: str, missing: Failure | None = None
    ) -> dict[str, Any]:
        try:
            status, body = await self._get(f"{API}{path}", query)
        except TooLarge:
            raise _Refused(self._too_large(subject)) from None
        if status != 200:
            raise _Refused(self._refusal(status, body, subject, missing))
        return dict(json.loads(body))

    def _refusal(self, status: int, body: bytes, subject: str, missing: Failure | None) -> Failure:
        code, message = _error_fields(body)
        if code == "RESOURCE_DOES_NOT_EXIST" and missing:
            return missing
        if status == 401:
            return self._failure(Reason.REGISTRY_UNAUTHORIZED, self._login_help(), of_server=True)
        if status == 403:
            return self._denial(body, subject)
        if 300 <= status < 400:
            return self._failure(
                Reason.REGISTRY_ERROR,
                "redirects to another address: use that address as the tracking URI",
                of_server=True,
            )
        if status == 404:
            return self._failure(
                Reason.REGISTRY_ERROR,
                f"answered 404 to a request for {subject}: it is not an MLflow server, or one too "
                "old to support it; correct the tracking URI",
            )
        detail = f": {message}" if message else " without an error message"
        return self._failure(
            Reason.REGISTRY_ERROR,
            f"answered {status}{detail}; see its log",
            of_server=status in _OVERLOADED,
        )

    def _denial(self, body: bytes, subject: str) -> Failure:
        if b"Invalid Host header" in body:
            return self._failure(
                Reason.REGISTRY_HOST_REJECTED,
                "rejects requests for its own host name: add that host name to its "
                "MLFLOW_SERVER_ALLOWED_HOSTS",
                of_server=True,
            )
        return self._failure(
            Reason.REGISTRY_UNAUTHORIZED,
            f"denies the operator access to {subject} (403): grant its user READ on it",
        )

    def _login_help(self) -> str:
        if self._client.is_own:
            return (
                "rejected the operator's credentials (401): give the operator a user or "
                "token that can read the registry (chart value "
                "trackingCredentialsSecret)"
            )
        return (
            "requires credentials (401), and the operator sends its own only to its own tracking "
            "server: make this server the operator's (chart value trackingUri), or allow anonymous "
            "reads"
        )

    def _not_mlflow(self) -> Failure:
        return self._failure(
            Reason.REGISTRY_ERROR,
            "did not answer like an MLflow server: correct the tracking URI",
            of_server=True,
        )

    def _too_large(self, subject: str) -> Failure:
        return self._failure(
            Reason.REGISTRY_ERROR,
            f"answered a request for {subject} with more than {MAX_RESPONSE_BYTES >> 10} KiB: "
            "shorten its descriptions and tags, or correct the tracking URI",
        )

    async def _mlmodel(self, artifact: Artifact) -> str | None:
        """The MLmodel file, if it can be read; if not, the pods will say why."""
        try:
            status, body = await self._get(*artifact, first=MAX_MLMODEL_BYTES)
        except _Refused:
            log.debug("could not read an MLmodel file from %s", self.uri, exc_info=True)
            return None
        return body.decode(errors="replace") if status == 200 else None

    async def _get(self, path: str, query: dict[str, str], first: int | None = None) -> Response:
        try:
            return await self._client.get(path, query, first=first)
        except Unreachable as error:
            failure = self._failure(
                Reason.REGISTRY_UNREACHABLE, f"is unreachable: {error}", of_server=True
            )
            raise _Refused(failure) from error

    def _failure(self, reason: Reason, text: str, of_server: bool = False) -> Failure:
        return Failure(reason, single_line(f"Tracking server {self.uri} {text}"), of_server)


def _logged_model_id(version: Any) -> str | None:
    """The logged model (MLflow 3) that a version was registered from."""
    model_id = (version.get("source") or "").removeprefix("models:/")
    return model_id if _MODEL_ID.fullmatch(model_id) else None


def _created(version: Any) -> int | None:
    """When a version was registered; None where the server does not say."""
    created = version.get("creation_timestamp")
    return created if isinstance(created, int) and 0 < created < 1 << 53 else None


def _tags(version: Any) -> tuple[tuple[str, str], ...]:
    """The tags of a version that a gate may ask for; anybody may set others."""
    tags = ((tag.get("key"), tag.get("value") or "") for tag in version.get("tags") or ())
    usable = (tag for tag in tags if all(_is_short_text(part) for part in tag))
    return tuple(sorted(islice(usable, MAX_TAGS)))


def _is_short_text(value: object) -> bool:
    return isinstance(value, str) and len(value) <= MAX_TAG_LENGTH


def _version_metadata(mlmodel: str | None, previous: VersionMetadata | None) -> VersionMetadata:
    """What the file says; `previous`: what was known of the same version without it."""
    if mlmodel is None:
        return VersionMetadata(unread_polls=previous.unread_polls + 1 if previous else 1)
    is_complete = len(mlmodel.encode(errors="replace")) < MAX_MLMODEL_BYTES
    return VersionMetadata(
        python_version(mlmodel),
        is_portable=is_portable(mlmodel),
        signature=read_signature(mlmodel, is_complete),
    )


def python_version(mlmodel: str) -> str | None:
    """The Python version that an MLmodel file names, like "3.11.7"."""
    text = _flavor(mlmodel, "python_function").get("python_version", "")
    match = _PYTHON_VERSION.fullmatch(text)
    return match[1] if match else None


def is_portable(mlmodel: str) -> bool:
    """Whether any Python version loads it: it has data, or source code, and no pickled objects.

    The scoring server has the same rule, for files that the operator can't read:
    prepare/python_version.py. tests/portability.py holds both to one table.
    """
    pyfunc = _flavor(mlmodel, "python_function")
    loader = pyfunc.get("loader_module", "")
    if loader == "mlflow.sklearn":
        return _flavor(mlmodel, "sklearn").get("serialization_format") == "skops"
    if loader == "mlflow.pyfunc.model" or loader.startswith("mlflow.pyfunc.loaders."):
        return "model_code_path" in pyfunc
    return loader in _DATA_LOADERS and not pyfunc.get("data", "").endswith((".pkl", ".pickle"))


def _flavor(mlmodel: str, name: str) -> dict[str, str]:
    """The scalars of a flavor in an MLmodel file, read in linear time and without a YAML parser."""
    values: dict[str, str] = {}
    in_flavor = False
    for line in mlmodel[:MAX_MLMODEL_BYTES].splitlines():
        if not line.startswith("   "):
            in_flavor = line == f"  {name}:"
        elif in_flavor and line[:4] == "    " and line[4:5] not in (" ", "-"):
            key, _, value = line[4:].partition(": ")
            values.setdefault(key, value)
    return values


def _logged_mlmodel(model_id: str) -> Artifact:
    path = f"/ajax-api/2.0/mlflow/logged-models/{model_id}/artifacts/files"
    return path, {"artifact_file_path": "MLmodel"}


def _version_number(version: object) -> str:
    return _matching(_VERSION, version)


def _matching(pattern: re.Pattern[str], value: object) -> str:
    """`value` if it is text of that form: it becomes part of URIs, names or messages."""
    if not isinstance(value, str) or not pattern.fullmatch(value):
        raise ValueError(f"not of the form {pattern.pattern}")
    return value


def _error_fields(body: bytes) -> tuple[str, str]:
    """MLflow's error code and message; empty where the response is none of MLflow's."""
    try:
        fields = json.loads(body)
        code = _matching(_CONSTANT, fields.get("error_code"))
        return code, _own_words(fields.get("message"))
    except _MALFORMED:
        return "", ""


def _own_words(text: object) -> str:
    return single_line(text, MAX_MESSAGE_LENGTH)
