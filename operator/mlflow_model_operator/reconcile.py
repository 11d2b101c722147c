"""One resource, from what is to what must be: read, resolve, plan, apply, report.

Level-triggered: it looks at what is, never at what changed, and may run at any time, any number
of times. Where nothing is to be done it sends nothing.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

from mlflow_model_operator import status
from mlflow_model_operator.api.model_version import ResolutionError, ResolutionResult
from mlflow_model_operator.api.resource import InvalidResource, Key, MLflowModelDeployment
from mlflow_model_operator.apply import Applier
from mlflow_model_operator.kube import httproute, kinds
from mlflow_model_operator.kube.cache import Cache
from mlflow_model_operator.kube.client import ApiError, Cluster
from mlflow_model_operator.kube.httproute import Pending
from mlflow_model_operator.kube.objects import LiveChildren, created_at, is_deleting
from mlflow_model_operator.plan import (
    Plan,
    Resolution,
    RevisionNames,
    compute_changes,
    desired_objects,
    make_plan,
)
from mlflow_model_operator.registry import Registry
from mlflow_model_operator.report import Reporter
from mlflow_model_operator.settings import Settings
from mlflow_model_operator.status import ApplyFailure, Snapshot

# After a failure that only others can mend, like a quota.
APPLY_RETRY_INTERVAL = 30.0  # seconds
# How long a gateway may leave a route without an answer before we look whether it exists.
GATEWAY_TIMEOUT = 5.0
REQUEUE_NOW = 0.0  # after whatever else waits in the queue


@dataclass(frozen=True)
class Outcome:
    """The children after their changes, and what could not be changed."""

    live: LiveChildren
    failures: tuple[ApplyFailure, ...] = ()
    has_created: bool = False  # all that was sent was taken, some of it new


@dataclass
class Reconciler:
    """Holds what reconciling needs; of the resources it holds nothing that can't be lost."""

    settings: Settings
    cluster: Cluster
    cache: Cache
    registry: Registry
    clock: Callable[[], float] = time.time

    def __post_init__(self) -> None:
        self._revisions = RevisionNames(self.settings)
        self._applier = Applier(self.cluster, self.cache)
        self._reporter = Reporter(self.cluster, self.cache)
        # What was fully applied, by resource: while it is the same, nothing is compared again.
        self._in_sync: dict[Key, int] = {}

    async def reconcile(self, key: Key) -> float | None:
        """Brings one resource to its desired state as far as possible now.

        Returns the seconds after which to look again if nothing happens before, or None. Raises
        ApiError where the API server can't be reached or asks for patience.
        """
        raw = self.cache.resource(key)
        if raw is None or is_deleting(raw):
            self._forget(key)
            return None
        try:
            resource = MLflowModelDeployment.parse(raw)
        except InvalidResource as error:
            await self._reporter.report_invalid(raw, error, self.clock())
            return None
        resolution = await self._resolve(resource)
        live = self.cache.children(key, resource.uid)
        plan = make_plan(resource, resolution, live, self._revisions, self.settings, self.clock())
        outcome = await self._apply(resource, plan, live) if plan else Outcome(live)
        # The others that wait in the queue get their children before anybody's status is written.
        if outcome.has_created:
            return REQUEUE_NOW
        snapshot = await self._snapshot(resource, resolution, plan, outcome)
        await self._reporter.report(raw, snapshot)
        return requeue_after(snapshot)

    def _forget(self, key: Key) -> None:
        self.registry.unsubscribe(key)
        self._in_sync.pop(key, None)

    async def _resolve(self, resource: MLflowModelDeployment) -> Resolution:
        spec = resource.spec
        tracking_uri = spec.model.tracking_uri
        uris = {spec.model.uri} | ({spec.canary.uri} if spec.canary else set())
        self.registry.unsubscribe(resource.key, except_for={(tracking_uri, uri) for uri in uris})
        return Resolution(
            model=await self._resolve_uri(resource, spec.model.uri),
            canary=await self._resolve_uri(resource, spec.canary.uri) if spec.canary else None,
        )

    async def _resolve_uri(self, resource: MLflowModelDeployment, uri: str) -> ResolutionResult:
        tracking_uri = resource.spec.model.tracking_uri
        try:
            return await self.registry.resolve(resource.key, uri, tracking_uri)
        except ResolutionError as error:
            return error

    async def _apply(
        self, resource: MLflowModelDeployment, plan: Plan, live: LiveChildren
    ) -> Outcome:
        """Makes the children what `plan` asks for, unless they are known to be."""
        if self._in_sync.get(resource.key) == self._state(resource, plan):
            return Outcome(live)
        desired = desired_objects(resource, plan, live, self.settings)
        changes = remaining = compute_changes(resource, plan, desired, live)
        failures: list[ApplyFailure] = []
        if changes:
            failures = await self._applier.apply(resource.key, changes)
            # Others may have changed a child while we wrote. Between this look at what is live and
            # the note below nothing is awaited, so what is noted is what was looked at.
            live = self.cache.children(resource.key, resource.uid)
            remaining = compute_changes(resource, plan, desired, live)
        if not remaining:
            self._in_sync[resource.key] = self._state(resource, plan)
        has_created = not failures and len(remaining.missing) < len(changes.missing)
        return Outcome(live, tuple(failures), has_created)

    def _state(self, resource: MLflowModelDeployment, plan: Plan) -> int:
        children = self.cache.fingerprint(resource.key)
        return hash((resource.uid, resource.generation, plan.identity, children))

    async def _snapshot(
        self,
        resource: MLflowModelDeployment,
        resolution: Resolution,
        plan: Plan | None,
        outcome: Outcome,
    ) -> Snapshot:
        return Snapshot(
            resource=resource,
            resolution=resolution.model,
            canary_resolution=resolution.canary,
            decision=plan.decision if plan else None,
            live=outcome.live,
            apply_errors=outcome.failures,
            now=self.clock(),
            gateway_exists=await self._gateway_exists(resource, outcome.live),
            scoring_python_versions=tuple(self.settings.scoring_images),
        )

    async def _gateway_exists(
        self, resource: MLflowModelDeployment, live: LiveChildren
    ) -> bool | None:
        """Whether the named Gateway is there; only looked up when it leaves the route pending."""
        gateway, route = resource.gateway, live.routes.get(resource.name)
        if gateway is None or route is None or not is_route_pending(resource, live):
            return None
        now = self.clock()
        if now - (created_at(route) or now) <= GATEWAY_TIMEOUT:
            return None
        try:
            return await self.cluster.get(kinds.GATEWAY, *gateway) is not None
        except ApiError as error:
            if error.status == 403:  # in namespaced mode we may not look into each namespace
                return None
            raise


def is_route_pending(resource: MLflowModelDeployment, live: LiveChildren) -> bool:
    """Whether there is a route of which its Gateway has said nothing yet."""
    gateway, route = resource.gateway, live.routes.get(resource.name)
    if gateway is None or route is None:
        return False
    return isinstance(httproute.acceptance(route, gateway.name, gateway.namespace), Pending)


def requeue_after(snapshot: Snapshot) -> float | None:
    """The seconds after which time alone, or something that we don't watch, may change things."""
    waits = [
        snapshot.decision.requeue_after if snapshot.decision else None,
        APPLY_RETRY_INTERVAL if snapshot.apply_errors else None,
        GATEWAY_TIMEOUT if is_route_pending(snapshot.resource, snapshot.live) else None,
        status.requeue_after(snapshot),
    ]
    return min((wait for wait in waits if wait is not None), default=None)
