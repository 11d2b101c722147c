"""How a plan splits the requests among several versions, as plain text. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import NamedTuple

from mlflow_model_operator.api.match_fields import RequestMatch
from mlflow_model_operator.api.resource import MLflowModelDeployment
from mlflow_model_operator.cli.table import table
from mlflow_model_operator.rollout import Decision
from mlflow_model_operator.rollout.state import Revision
from mlflow_model_operator.rollout.variants import Variant, split


class _Share(NamedTuple):
    """A version that receives requests beside the stable one."""

    role: str
    variant: Variant
    matches: Iterable[RequestMatch]


def shares_text(resource: MLflowModelDeployment, decision: Decision) -> str:
    """Each version with its share, and the requests that it gets whatever that is.

    "" where one version receives all requests, but for the time of a rollout.
    """
    stable = decision.target
    shares = [each for each in _shares(resource, decision) if each.variant.revision != stable]
    parts = []
    if shares:
        parts.append(
            "Requests are split like this once all versions are ready:\n\n"
            + table(("REVISION", "VERSION", "ROLE", "WEIGHT", "MATCH"), _rows(stable, shares))
        )
    matches = resource.spec.rollout.match
    if matches:
        parts.append(f"During a rollout, the new revision gets requests with {_either(matches)}.")
    return "\n\n".join(parts)


def _shares(resource: MLflowModelDeployment, decision: Decision) -> Iterator[_Share]:
    spec = resource.spec
    if spec.canary is not None and decision.canary is not None:
        variant = Variant("canary", decision.canary, spec.canary.weight)
        yield _Share("canary", variant, spec.canary.match)
    matches = spec.match_by_variant
    for variant in decision.variants:
        yield _Share(f"variant {variant.name}", variant, matches.get(variant.name, ()))


def _rows(stable: Revision, shares: list[_Share]) -> Iterator[tuple[str, ...]]:
    """As the status has them: the stable revision first, without what the others get."""
    weights = dict(split(stable.name, (share.variant for share in shares)))
    yield _row(stable, "stable", weights.get(stable.name, 0), ())
    for role, variant, matches in shares:
        yield _row(variant.revision, role, variant.weight, matches)


def _row(
    revision: Revision, role: str, weight: int, matches: Iterable[RequestMatch]
) -> tuple[str, ...]:
    return revision.name, revision.model.version, role, f"{weight} %", _either(matches)


def _either(matches: Iterable[RequestMatch]) -> str:
    return " or ".join(map(_match, matches))


def _match(match: RequestMatch) -> str:
    if match.header is not None:
        return f"header {match.header.name}: {match.header.value}"
    return f"cookie {match.cookie.name}={match.cookie.value}" if match.cookie else ""
