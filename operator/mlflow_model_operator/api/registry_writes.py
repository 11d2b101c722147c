"""What is to be written into the registry for a resource, and what became of that."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from mlflow_model_operator.api.reasons import Reason


@dataclass(frozen=True)
class VersionNote:
    """The tag of a model version: its verdict here, and since when."""

    name: str
    version: str
    verdict: str
    since: str  # as Kubernetes writes times
    reason: str = ""
    message: str = ""


@dataclass(frozen=True)
class AliasChange:
    """An alias that a version is to have since it was promoted."""

    name: str
    alias: str
    version: str
    promoted_at: str


@dataclass(frozen=True)
class Writes:
    """All that is to be written for one resource."""

    notes: tuple[VersionNote, ...] = ()
    alias: AliasChange | None = None

    def only(self, is_writable: Callable[[str], bool]) -> Writes:
        """Those to registered models that may be written to."""
        notes = tuple(note for note in self.notes if is_writable(note.name))
        alias = self.alias if self.alias and is_writable(self.alias.name) else None
        return Writes(notes, alias)


@dataclass(frozen=True)
class WriteFailure:
    """Why something could not be written, as the condition RegistryUpdated says it."""

    reason: Reason
    message: str


@dataclass(frozen=True)
class WriteState:
    """How far the writes of a resource are.

    `denial`: the resource may not write, and why. `done`: what was read back as it is to be.
    """

    denial: WriteFailure | None = None
    failure: WriteFailure | None = None
    done: Writes | None = None
    alias_set: AliasChange | None = None
