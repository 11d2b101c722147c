"""What a model URI resolves to: a version of a model, or the reason why it could not."""

from __future__ import annotations

from dataclasses import dataclass, field

from mlflow_model_operator.api.reasons import Reason
from mlflow_model_operator.api.signature import Signature


@dataclass(frozen=True)
class ModelVersion:
    """What a model URI resolves to now: immutable, and all that pods ever see of it."""

    requested: str  # the URI in spec: models:/wine@champion
    uri: str  # the URI that the pods fetch: models:/wine/3, models:/m-…, runs:/…/model, s3://…
    version: str  # for people: "3", "m-1a2b…", a run id; "-" for a storage URI
    tracking_uri: str | None = None  # None where the URI needs no registry
    name: str | None = None  # the registered model, where there is one
    python_version: str | None = None  # "3.11.7", from the model's own files; None if unknown
    # When it was registered, in milliseconds since 1970: a number that was registered again is
    # another version. None where the URI says it all, like models:/m-….
    created: int | None = None
    # Of a registered version. They may change, and make no other revision.
    tags: tuple[tuple[str, str], ...] = ()
    # Whether it holds data only, which any Python version loads; a version that was read back from
    # the status or from a pod does not say it.
    is_portable: bool = field(default=False, compare=False)
    # From the model's own files; None where they can't be read, and where it was read back.
    signature: Signature | None = field(default=None, compare=False)

    @property
    def display_uri(self) -> str:
        """The URI as people know it: models:/wine/3, also where pods fetch models:/m-…."""
        return f"models:/{self.name}/{self.version}" if self.name else self.uri

    def is_same(self, other: ModelVersion) -> bool:
        """Whether pods get the same model, whatever URI it was requested by."""
        return (self.uri, self.created, self.tracking_uri) == (
            other.uri,
            other.created,
            other.tracking_uri,
        )


class ResolutionError(Exception):
    """A model URI could not be resolved; `reason` becomes the reason of `ModelResolved`.

    `last_resolved` is what it resolved to before, where only the registry is in trouble.
    """

    def __init__(
        self, reason: Reason, message: str, last_resolved: ModelVersion | None = None
    ) -> None:
        super().__init__(message)
        self.reason = reason
        self.message = message
        self.last_resolved = last_resolved


class ResolutionPending(Exception):
    """A model URI is not resolved yet; who asked will be notified when it is, or cannot be."""


ResolutionResult = ModelVersion | ResolutionError
