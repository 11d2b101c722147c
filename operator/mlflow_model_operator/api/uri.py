"""Model URIs, parsed: what they say before they are resolved.

Python and RE2 (the CRD's rules) use the same patterns, so that the API server accepts exactly the
URIs that the operator can parse.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

# MLflow's stages; it takes them in any case.
STAGES = ("None", "Staging", "Production", "Archived")
# The schemes of MLflow's artifact repositories that need a host or bucket after "//".
REMOTE_SCHEMES = ("s3", "r2", "b2", "gs", "abfss", "wasbs", "sftp", "ftp", "http", "https")
# Those whose host may be left out: dbfs:/path, hdfs:/path, mlflow-artifacts:/path.
HOSTLESS_SCHEMES = ("mlflow-artifacts", "dbfs", "hdfs", "viewfs", "file")
SCHEMES = ("models", "runs", *REMOTE_SCHEMES, *HOSTLESS_SCHEMES)

# What Python calls white space beyond ASCII, and RE2's \s does not.
_SPACE = "\x85\xa0\u1680\u2000-\u200a\u2028\u2029\u202f\u205f\u3000"
# MLflow forbids "/", ":" and names of nothing but white space; a "?" would start a query.
_NAME = rf"[^/:?\x00-\x20{_SPACE}][^/:?\x00-\x1f]*"
_PATH = r"[^\x00-\x20?#]+"

SCHEME_PATTERN = rf"(?s:({'|'.join(SCHEMES)}):.*|/.*)"
MODELS_PATTERN = (
    rf"models:/(m-[0-9A-Za-z]+|{_NAME}@[^\x00-\x20{_SPACE}/:@?#]+"
    rf"|{_NAME}/([0-9]{{1,18}}|(?i:latest|{'|'.join(STAGES)})))"
)
RUNS_PATTERN = rf"runs:/[0-9A-Za-z_-]+/{_PATH}"
STORAGE_PATTERN = (
    rf"({'|'.join(REMOTE_SCHEMES)})://[^\x00-\x20/?#]+(/[^\x00-\x1f]*)?"
    r"|(dbfs|hdfs|viewfs|mlflow-artifacts):(//[^\x00-\x20/?#]+)?/[^\x00-\x1f/][^\x00-\x1f]*"
    r"|(file:(//)?)?/[^\x00-\x1f/][^\x00-\x1f]*"
)
PASSWORD_PATTERN = r"(?s:[a-z0-9-]+://[^/:]*:[^/]*@.*)"

SCHEME_HELP = (
    "a model URI starts with models:/, runs:/, a storage scheme or /: write for example "
    "models:/wine@champion, models:/wine/3, runs:/<run id>/model, s3://bucket/path or "
    "/mnt/models/wine"
)
MODELS_HELP = (
    "write models:/<name>@<alias>, models:/<name>/<version>, models:/<name>/latest, "
    "models:/<name>/<stage> (Staging, Production, Archived or None) or models:/m-<id>, "
    "with one slash after models:"
)
RUNS_HELP = (
    "write runs:/<run id>/<path of the model in the run>, like runs:/0a1b2c3d/model, "
    "with one slash after runs:"
)
STORAGE_HELP = (
    "write scheme://bucket/path, like s3://bucket/models/wine, mlflow-artifacts:/path, "
    "or an absolute path on a mounted volume, like /mnt/models/wine"
)
PASSWORD_HELP = (
    "everyone who can read the resource sees the URI: leave out user and password, and put them "
    "into the Secret that model.credentialsSecret names"
)


class InvalidModelUri(ValueError):
    """Not a model URI; the message says what to write instead."""


@dataclass(frozen=True)
class RegisteredVersion:
    """models:/<name>/<version>: a fixed version."""

    name: str
    version: str  # decimal digits without leading zeros


@dataclass(frozen=True)
class RegisteredAlias:
    """models:/<name>@<alias>: the version that the alias points to now."""

    name: str
    alias: str


@dataclass(frozen=True)
class RegisteredStage:
    """models:/<name>/<stage>: the newest version in that stage now."""

    name: str
    stage: str  # as MLflow spells it: one of STAGES


@dataclass(frozen=True)
class RegisteredLatest:
    """models:/<name>/latest: the newest version now."""

    name: str


@dataclass(frozen=True)
class LoggedModel:
    """models:/m-<id>: a logged model (MLflow 3), which needs no registration."""

    model_id: str


@dataclass(frozen=True)
class RunModel:
    """runs:/<run id>/<path>: a model among a run's artifacts."""

    run_id: str
    path: str


@dataclass(frozen=True)
class StorageModel:
    """A model in a storage that MLflow supports, or on a mounted volume."""

    uri: str
    scheme: str  # "file" for an absolute path

    @property
    def path(self) -> str | None:
        """The absolute path for a model on a mounted volume, None for remote storage."""
        return re.sub(r"^file:(//)?", "", self.uri) if self.scheme == "file" else None


RegisteredModel = RegisteredVersion | RegisteredAlias | RegisteredStage | RegisteredLatest
ModelUri = RegisteredModel | LoggedModel | RunModel | StorageModel

_MODELS = re.compile(MODELS_PATTERN)
_RUNS = re.compile(RUNS_PATTERN)
_STORAGE = re.compile(STORAGE_PATTERN)
_PASSWORD = re.compile(PASSWORD_PATTERN)


def parse(uri: str) -> ModelUri:
    """Parses a model URI.

    Raises InvalidModelUri with a sentence that says what to write instead.
    """
    scheme, colon, rest = uri.partition(":")
    if uri.startswith("/"):
        scheme = "file"
    elif not colon or scheme not in SCHEMES:
        raise InvalidModelUri(f"{uri!r} is not a model URI: {SCHEME_HELP}")
    if _PASSWORD.fullmatch(uri):
        raise InvalidModelUri(f"The {scheme} URI contains a password: {PASSWORD_HELP}")
    if scheme == "models":
        return _models(uri, rest)
    if scheme == "runs":
        return _run(uri, rest)
    if _STORAGE.fullmatch(uri) is None:
        raise InvalidModelUri(f"{uri!r} is not a storage URI: {STORAGE_HELP}")
    return StorageModel(uri, scheme)


def _models(uri: str, rest: str) -> RegisteredModel | LoggedModel:
    if _MODELS.fullmatch(uri) is None:
        raise InvalidModelUri(f"{uri!r} does not name a model version: {MODELS_HELP}")
    name, slash, suffix = rest.removeprefix("/").partition("/")
    if not slash:
        name, at, alias = name.rpartition("@")
        return RegisteredAlias(name, alias) if at else LoggedModel(alias)
    if suffix.isdecimal():
        return RegisteredVersion(name, str(int(suffix)))
    if suffix.lower() == "latest":
        return RegisteredLatest(name)
    return RegisteredStage(name, suffix.capitalize())


def _run(uri: str, rest: str) -> RunModel:
    if _RUNS.fullmatch(uri) is None:
        raise InvalidModelUri(f"{uri!r} does not name a model of a run: {RUNS_HELP}")
    run_id, _, path = rest.removeprefix("/").partition("/")
    return RunModel(run_id, path)
