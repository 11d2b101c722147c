"""What a model URI resolves to, given the results of the queries to its tracking server so far.

Pure: it sends nothing. Where a result is missing it names the query that would bring it, so that
resolving is "execute the query that is missing, until none is".
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace

from mlflow_model_operator.api import uri as model_uri
from mlflow_model_operator.api.model_version import ModelVersion
from mlflow_model_operator.api.reasons import Reason
from mlflow_model_operator.api.signature import Signature

# MLflow answers for this alias, which nobody can set, as for models:/<name>/latest.
LATEST_ALIAS = "latest"
# For so many polls an MLmodel file that could not be read is tried again, less and less often: a
# store may be down for hours, but some files can never be read.
MAX_UNREAD_POLLS = 1024

# The model URIs that only a tracking server can resolve.
ServedUri = model_uri.RegisteredModel | model_uri.LoggedModel | model_uri.RunModel


@dataclass(frozen=True)
class ModelQuery:
    """Asks for a registered model: where its aliases and stages point, which may change."""

    name: str


@dataclass(frozen=True)
class VersionQuery:
    """Asks for one version of a registered model, which may be deleted and registered again."""

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
    """A registered model's moving names, as one request brings them.

    Of its aliases only those that somebody follows: anybody may set a great many.
    """

    aliases: Mapping[str, str | None] = field(default_factory=dict)  # alias → version, None: unset
    stages: Mapping[str, str] = field(default_factory=dict)  # stage → newest version in it
    latest: str | None = None


@dataclass(frozen=True)
class VersionMetadata:
    """What is known of a version, a logged model or a run's model."""

    python_version: str | None = None
    model_id: str | None = None  # of a version: the logged model that it is, if it is one
    created: int | None = None  # of a version: when it was registered, in milliseconds since 1970
    tags: tuple[tuple[str, str], ...] = ()  # of a version; the only part that may change
    is_portable: bool = False  # it holds data only, which any Python version loads
    signature: Signature | None = field(default=None, compare=False)  # None: it can't be read
    # The polls since its MLmodel file could first not be read; 0: it was read.
    unread_polls: int = field(default=0, compare=False)

    @property
    def may_be_read(self) -> bool:
        """Whether its MLmodel file, which could not be read, is still to be tried again."""
        return 0 < self.unread_polls < MAX_UNREAD_POLLS

    @property
    def is_read_due(self) -> bool:
        """Whether that is at this poll: at the 1st, 2nd, 4th, 8th and so on."""
        return self.may_be_read and self.unread_polls & (self.unread_polls - 1) == 0

    def polled(self) -> VersionMetadata:
        """The same after a poll at which the file was not read."""
        return replace(self, unread_polls=self.unread_polls + 1) if self.may_be_read else self

    def is_same(self, other: VersionMetadata) -> bool:
        """Whether both are of one version, and not of two with the same number."""
        return (self.model_id, self.created) == (other.model_id, other.created)


@dataclass(frozen=True)
class Failure:
    """Why there is no answer; reason and message become those of `ModelResolved`.

    `of_server`: the server itself is in trouble, so that other queries would fail as well.
    """

    reason: Reason
    message: str
    of_server: bool = False


Metadata = RegisteredModelMetadata | VersionMetadata
Result = Metadata | Failure
# The result of a query; None: it has none yet.
ResultOf = Callable[[Query], Result | None]


def subject(of: ServedUri | Query) -> str:
    """What a URI or query is about; equal for a URI and all queries that it may need."""
    match of:
        case model_uri.LoggedModel(model_id) | LoggedModelQuery(model_id):
            return model_id
        case model_uri.RunModel(run_id) | RunQuery(run_id):
            return run_id
        case _:
            return of.name


def resolve(
    uri: str, parsed: ServedUri, server: str, result_of: ResultOf
) -> ModelVersion | Failure | Query:
    """The version that `uri` resolves to on `server`, or the failure, or the missing query."""
    match parsed:
        case model_uri.LoggedModel(model_id):
            query: Query = LoggedModelQuery(model_id)
            resolved_uri, version, name = f"models:/{model_id}", model_id, None
        case model_uri.RunModel(run_id, path):
            query = RunQuery(run_id, path)
            resolved_uri, version, name = f"runs:/{run_id}/{path}", run_id, None
        case _:
            number = _version(parsed, server, result_of)
            if not isinstance(number, str):
                return number
            query = VersionQuery(parsed.name, number)
            resolved_uri, version, name = f"models:/{parsed.name}/{number}", number, parsed.name
    metadata = result_of(query)
    if isinstance(metadata, Failure):
        return metadata
    if not isinstance(metadata, VersionMetadata):
        return query
    if metadata.model_id is not None:
        # A logged model never changes, and outlives the version that names it.
        resolved_uri = f"models:/{metadata.model_id}"
    created = None if metadata.model_id else metadata.created
    return ModelVersion(
        uri,
        resolved_uri,
        version,
        server,
        name,
        metadata.python_version,
        created,
        tags=metadata.tags,
        is_portable=metadata.is_portable,
        signature=metadata.signature,
    )


def is_immutable(query: Query) -> bool:
    """Whether the metadata that a query has brought never changes."""
    return isinstance(query, LoggedModelQuery | RunQuery)


def followed_alias(parsed: ServedUri) -> str | None:
    """The alias that a model URI names, of those that can be set."""
    if isinstance(parsed, model_uri.RegisteredAlias) and parsed.alias.lower() != LATEST_ALIAS:
        return parsed.alias
    return None


def _version(
    parsed: model_uri.RegisteredModel, server: str, result_of: ResultOf
) -> str | Failure | ModelQuery:
    if isinstance(parsed, model_uri.RegisteredVersion):
        return parsed.version
    query = ModelQuery(parsed.name)
    model = result_of(query)
    if isinstance(model, Failure):
        return model
    if not isinstance(model, RegisteredModelMetadata):
        return query
    alias = followed_alias(parsed)
    if alias is not None and alias not in model.aliases:
        return query
    return _current_version(parsed, model, f"Registered model {parsed.name!r} on {server}")


def _current_version(
    parsed: model_uri.RegisteredAlias | model_uri.RegisteredStage | model_uri.RegisteredLatest,
    model: RegisteredModelMetadata,
    where: str,
) -> str | Failure:
    if alias := followed_alias(parsed):
        return model.aliases[alias] or Failure(
            Reason.ALIAS_NOT_FOUND,
            f"{where} has no alias {alias!r}: set the alias on a version, or correct it in the "
            "model URI",
        )
    if isinstance(parsed, model_uri.RegisteredStage):
        return model.stages.get(parsed.stage) or Failure(
            Reason.STAGE_EMPTY,
            f"{where} has no version in stage {parsed.stage}: move one to it, or use a version or "
            "an alias",
        )
    return model.latest or Failure(
        Reason.VERSION_NOT_FOUND, f"{where} has no versions: register one"
    )
