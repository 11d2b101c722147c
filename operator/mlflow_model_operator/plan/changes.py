"""What lies between what is live and what is desired."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from mlflow_model_operator.api import names
from mlflow_model_operator.api.resource import MLflowModelDeployment
from mlflow_model_operator.kube.objects import KubeObject, LiveChildren
from mlflow_model_operator.plan.diff import needs_apply
from mlflow_model_operator.plan.replicas import replicas_for
from mlflow_model_operator.plan.revisions import Plan

MISSING = "all of it"


@dataclass(frozen=True)
class Change:
    """A desired object that is not so, and the first field of it that differs, or MISSING."""

    desired: KubeObject
    difference: str

    @property
    def is_missing(self) -> bool:
        """Whether there is no such object."""
        return self.difference == MISSING


@dataclass(frozen=True)
class Changes:
    """What lies between what is live and what is desired; false where that is the same."""

    apply: list[Change]
    scale: tuple[KubeObject, int] | None  # a live Deployment, and the replicas to give it
    prune: list[KubeObject]

    def __bool__(self) -> bool:
        return bool(self.apply or self.scale or self.prune)

    @property
    def missing(self) -> list[Change]:
        """Those that do not exist yet."""
        return [one for one in self.apply if one.is_missing]


def compute_changes(
    resource: MLflowModelDeployment, plan: Plan, desired: Iterable[KubeObject], live: LiveChildren
) -> Changes:
    """What is to be done next so that all that is desired is so, and nothing else is there."""
    return Changes(
        apply=[Change(obj, why) for obj in desired if (why := _difference(obj, live)) is not None],
        scale=_scale(resource, plan, live),
        prune=_superfluous(plan, desired, live),
    )


def _difference(obj: KubeObject, live: LiveChildren) -> str | None:
    found = live.of_kind(obj["kind"]).get(obj["metadata"]["name"])
    return MISSING if found is None else needs_apply(obj, found)


def _scale(
    resource: MLflowModelDeployment, plan: Plan, live: LiveChildren
) -> tuple[KubeObject, int] | None:
    """The Deployment of a stale revision with the replicas that it lacks or has too many of."""
    deployment = live.deployments.get(plan.stale.name) if plan.stale else None
    if plan.stale is None or deployment is None:
        return None
    replicas, _ = replicas_for(resource, plan.decision, plan.stale, live)
    return None if deployment["spec"].get("replicas") == replicas else (deployment, replicas)


def _superfluous(plan: Plan, desired: Iterable[KubeObject], live: LiveChildren) -> list[KubeObject]:
    """Live objects that must go: those of revisions that ended, and those no longer asked for."""
    stated = {(obj["kind"], obj["metadata"]["name"]) for obj in desired}
    return [
        obj
        for obj in _all(live)
        if (obj["kind"], obj["metadata"]["name"]) not in stated
        and not _stays_as_it_is(obj, plan)
        and "deletionTimestamp" not in obj["metadata"]
    ]


def _stays_as_it_is(obj: KubeObject, plan: Plan) -> bool:
    """Whether it is of a revision that is kept but that the spec can't state any more."""
    revision = obj["metadata"].get("labels", {}).get(names.REVISION)
    if plan.stale and revision == plan.stale.name:
        return obj["kind"] in ("Deployment", "Service")
    return revision in plan.decision.retained - {one.name for one in plan.renderable}


def _all(live: LiveChildren) -> Iterable[KubeObject]:
    for objects in (live.routes, live.autoscalers, live.budgets, live.deployments, live.services):
        yield from objects.values()
