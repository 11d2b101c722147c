"""A revision that gets copies of the requests and never a share of them. Pure."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

from mlflow_model_operator.rollout.state import Revision

# What a shadow has where a step of a rollout says only its percentage.
TIMEOUT = 10.0  # seconds
MAX_BODY_BYTES = 2**20


@dataclass(frozen=True)
class Shadow:
    """A revision that the pods of the stable one send copies to, and how."""

    revision: Revision
    percent: int
    timeout: float = TIMEOUT  # seconds
    max_body_bytes: int = MAX_BODY_BYTES
    examples: int = 0
    # The pods of one that the spec names; None: it is the target of a rollout, which has its own.
    replicas: int | None = None


def effective_shadow(shadow: Shadow | None, serving: Collection[str]) -> Shadow | None:
    """The shadow, unless its revision is among those that serve, or may be reached by requests."""
    return None if shadow is None or shadow.revision.name in serving else shadow
