"""The changes that lead from the live objects to the desired ones."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from mlflow_model_operator import render
from mlflow_model_operator.api.resource import MLflowModelDeployment
from mlflow_model_operator.kube.objects import KubeObject, LiveChildren, is_deleting, name_of
from mlflow_model_operator.plan.diff import needs_apply
from mlflow_model_operator.plan.replicas import scale_of
from mlflow_model_operator.plan.revisions import Plan

MISSING = "the object is missing"


@dataclass(frozen=True)
class Change:
    """A desired object to apply, and the first field that differs in the live one, or MISSING."""

    desired: KubeObject
    difference: str

    @property
    def is_missing(self) -> bool:
        """Whether there is no such live object."""
        return self.difference == MISSING


@dataclass(frozen=True)
class Changes:
    """What leads from the live objects to the desired ones; false where nothing does."""

    apply: list[Change]
    adopt: list[Change]  # metadata of live objects that the present spec doesn't render
    scale: tuple[KubeObject, int] | None  # a live Deployment, and its new number of replicas
    prune: list[KubeObject]

    def __bool__(self) -> bool:
        return bool(self.apply or self.adopt or self.scale or self.prune)

    @property
    def missing(self) -> list[Change]:
        """The objects to create."""
        return [change for change in self.apply if change.is_missing]


def compute_changes(
    resource: MLflowModelDeployment, plan: Plan, desired: Iterable[KubeObject], live: LiveChildren
) -> Changes:
    """What to apply, scale and delete so that the live objects are the desired ones."""
    differences = ((obj, _difference(obj, live)) for obj in desired)
    return Changes(
        apply=[Change(obj, difference) for obj, difference in differences if difference],
        adopt=list(_adoptions(resource, plan, live)),
        scale=_scale(resource, plan, live),
        prune=_obsolete(plan, desired, live),
    )


def _difference(desired: KubeObject, live: LiveChildren) -> str | None:
    live_object = live.of_kind(desired["kind"]).get(name_of(desired))
    return MISSING if live_object is None else needs_apply(desired, live_object)


def _adoptions(resource: MLflowModelDeployment, plan: Plan, live: LiveChildren) -> Iterator[Change]:
    """Labels and owners that somebody has taken from objects which can't be applied any more."""
    for name in sorted(plan.retained_as_is):
        metadata = render.revision_metadata(resource, name)
        for kind in ("Deployment", "Service"):
            desired = {"kind": kind, "metadata": metadata}
            obj = live.of_kind(kind).get(name)
            difference = needs_apply(desired, obj) if obj else None
            if difference:
                yield Change(desired, difference)


def _scale(
    resource: MLflowModelDeployment, plan: Plan, live: LiveChildren
) -> tuple[KubeObject, int] | None:
    """The Deployment of a stale revision and the replicas to set; None where it has them."""
    deployment = live.deployments.get(plan.stale.name) if plan.stale else None
    if plan.stale is None or deployment is None:
        return None
    replicas = scale_of(resource, plan.decision, plan.stale, live).replicas
    return None if deployment["spec"].get("replicas") == replicas else (deployment, replicas)


def _obsolete(plan: Plan, desired: Iterable[KubeObject], live: LiveChildren) -> list[KubeObject]:
    """Live objects to delete: those of revisions that have ended, and those no longer desired."""
    identities = {(obj["kind"], name_of(obj)) for obj in desired}
    return [
        obj
        for obj in _all(live)
        if (obj["kind"], name_of(obj)) not in identities
        and not _is_retained(obj, plan)
        and not is_deleting(obj)
    ]


def _is_retained(obj: KubeObject, plan: Plan) -> bool:
    """Whether it belongs to a revision that stays, though the spec can't render it any more.

    By its name, which is the revision's: labels can be edited.
    """
    name = name_of(obj)
    if plan.stale and name == plan.stale.name:
        return obj["kind"] in ("Deployment", "Service")
    return name in plan.retained_as_is


def _all(live: LiveChildren) -> Iterable[KubeObject]:
    for objects in (
        live.routes,
        live.autoscalers,
        live.budgets,
        live.deployments,
        live.services,
        live.network_policies,
        live.config_maps,
    ):
        yield from objects.values()
