"""What a model URI means, given what its tracking server is known to have answered.

Pure: it sends nothing. Where an answer is missing it names the lookup that would bring it, so that
resolving is "ask for what is missing, until nothing is".
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from mlflow_model_operator.api import uri as model_uri
from mlflow_model_operator.api.model_version import ModelVersion
from mlflow_model_operator.api.reasons import Reason

# MLflow answers for this alias, which nobody can set, as for models:/<name>/latest.
LATEST_ALIAS = "latest"

# The model URIs that only a tracking server can explain.
ServedUri = model_uri.RegisteredModel | model_uri.LoggedModel | model_uri.RunModel


@dataclass(frozen=True)
class ModelQuery:
    """Asks for a registered model: where its aliases and stages point, which may change."""

    name: str


@dataclass(frozen=True)
class VersionQuery:
    """Asks for one version of a registered model, which never changes."""

    name: str
    version: str


@dataclass(frozen=True)
class LoggedModelQuery:
    """Asks for a logged model (MLflow 3), which never changes."""

    model_id: str


@dataclass(frozen=True)
class RunQuery:
    """Asks for a model among a run's artifacts, which never changes."""

    run_id: str
    path: str


Query = ModelQuery | VersionQuery | LoggedModelQuery | RunQuery


@dataclass(frozen=True)
class RegisteredModelMetadata:
    """A registered model's moving names, as one request brings them."""

    aliases: dict[str, str] = field(default_factory=dict)  # alias → version
    stages: dict[str, str] = field(default_factory=dict)  # stage → newest version in it
    latest: str | None = None


@dataclass(frozen=True)
class VersionMetadata:
    """What never changes about a version, a logged model or a run's model."""

    python_version: str | None = None


@dataclass(frozen=True)
class Failure:
    """Why there is no answer; reason and message become those of `ModelResolved`.

    `of_server`: the server itself is in trouble, so that other lookups would fare no better.
    """

    reason: Reason
    message: str
    of_server: bool = False


Metadata = RegisteredModelMetadata | VersionMetadata
Result = Metadata | Failure
# The answer to a lookup as far as it is known; None: not yet asked.
Known = Callable[[Query], Result | None]


def subject(of: ServedUri | Query) -> str:
    """What a URI or lookup is about; equal for a URI and all lookups that it may need."""
    match of:
        case model_uri.LoggedModel(model_id) | LoggedModelQuery(model_id):
            return model_id
        case model_uri.RunModel(run_id) | RunQuery(run_id):
            return run_id
        case _:
            return of.name


def meaning(
    uri: str, parsed: ServedUri, server: str, known: Known
) -> ModelVersion | Failure | Query:
    """The version that `uri` means on `server`, or why it means none, or what to ask first."""
    match parsed:
        case model_uri.LoggedModel(model_id):
            lookup: Query = LoggedModelQuery(model_id)
            pods_see, version, name = f"models:/{model_id}", model_id, None
        case model_uri.RunModel(run_id, path):
            lookup = RunQuery(run_id, path)
            pods_see, version, name = f"runs:/{run_id}/{path}", run_id, None
        case _:
            found = _version(parsed, server, known)
            if not isinstance(found, str):
                return found
            lookup = VersionQuery(parsed.name, found)
            pods_see, version, name = f"models:/{parsed.name}/{found}", found, parsed.name
    facts = known(lookup)
    if isinstance(facts, Failure):
        return facts
    if not isinstance(facts, VersionMetadata):
        return lookup
    return ModelVersion(uri, pods_see, version, server, name, facts.python_version)


def _version(
    parsed: model_uri.RegisteredModel, server: str, known: Known
) -> str | Failure | ModelQuery:
    if isinstance(parsed, model_uri.RegisteredVersion):
        return parsed.version
    lookup = ModelQuery(parsed.name)
    model = known(lookup)
    if isinstance(model, Failure):
        return model
    if not isinstance(model, RegisteredModelMetadata):
        return lookup
    return _pointed_at(parsed, model, f"Registered model {parsed.name!r} on {server}")


def _pointed_at(
    parsed: model_uri.RegisteredAlias | model_uri.RegisteredStage | model_uri.RegisteredLatest,
    model: RegisteredModelMetadata,
    who: str,
) -> str | Failure:
    match parsed:
        case model_uri.RegisteredAlias(_, alias) if alias.lower() != LATEST_ALIAS:
            return model.aliases.get(alias) or Failure(
                Reason.ALIAS_NOT_FOUND,
                f"{who} has no alias {alias!r}: set the alias on a version, or correct it in the "
                "model URI",
            )
        case model_uri.RegisteredStage(_, stage):
            return model.stages.get(stage) or Failure(
                Reason.STAGE_EMPTY,
                f"{who} has no version in stage {stage}: move one to it, or use a version or an "
                "alias",
            )
        case _:
            return model.latest or Failure(
                Reason.VERSION_NOT_FOUND, f"{who} has no versions: register one"
            )
