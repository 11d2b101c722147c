"""One resource, from what is to what must be: read, resolve, plan, apply, report.

Level-triggered: it looks at what is, never at what changed, and may run at any time, any number
of times. Where nothing is to be done it sends nothing.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

from mlflow_model_operator import status
from mlflow_model_operator.analysis import Measurement
from mlflow_model_operator.api.model_version import ResolutionPending
from mlflow_model_operator.api.reasons import Reason
from mlflow_model_operator.api.registry_writes import WriteFailure, WriteState
from mlflow_model_operator.api.resource import InvalidResource, Key, MLflowModelDeployment
from mlflow_model_operator.apply import Applier, ForeignObjects
from mlflow_model_operator.kube import httproute
from mlflow_model_operator.kube.cache import Cache
from mlflow_model_operator.kube.client import Cluster
from mlflow_model_operator.kube.gateway_poller import GatewayPoller
from mlflow_model_operator.kube.kinds import Kind
from mlflow_model_operator.kube.objects import KubeObject, LiveChildren, is_deleting
from mlflow_model_operator.kube.resync import confirm_absent
from mlflow_model_operator.measurement import MeasurementPoller, ShadowPoller
from mlflow_model_operator.pacing import UpdateSlots
from mlflow_model_operator.plan import (
    Plan,
    Reports,
    Resolution,
    RevisionNames,
    Surroundings,
    compute_changes,
    desired_objects,
    make_plan,
    measurement,
    shadow_measurement,
    unseen_objects,
)
from mlflow_model_operator.policy import Policy
from mlflow_model_operator.registry import Registry, RegistryWriter
from mlflow_model_operator.report import Reporter
from mlflow_model_operator.resolve import Resolver
from mlflow_model_operator.rollout import Phase
from mlflow_model_operator.rollout.progress import Cause
from mlflow_model_operator.settings import Settings
from mlflow_model_operator.status import ApplyFailure, Snapshot

# After a failure that only others can mend, like a quota.
APPLY_RETRY_INTERVAL = 30.0  # seconds
# After an own write that a rollout without a gateway waits for: it comes as no event.
FOLLOW_UP_INTERVAL = 0.1
# From the startup timeout to when an update of the operator's making holds up others no more.
UPDATE_MARGIN = 60.0
Child = tuple[Kind, str]  # a kind, and the name of an object
REQUEUE_NOW = 0.0  # after whatever else waits in the queue


@dataclass(frozen=True)
class Outcome:
    """The children after their changes, and what could not be changed."""

    live: LiveChildren
    failures: tuple[ApplyFailure, ...] = ()
    has_created: bool = False  # all that was sent was foreign, some of it new


@dataclass
class Reconciler:
    """Holds what reconciling needs; of the resources it holds nothing that can't be lost."""

    settings: Settings
    cluster: Cluster
    cache: Cache
    registry: Registry
    gateways: GatewayPoller
    measurements: MeasurementPoller
    shadows: ShadowPoller
    enqueue: Callable[[Key], None]
    writer: RegistryWriter | None = None
    clock: Callable[[], float] = time.time

    def __post_init__(self) -> None:
        self._revisions = RevisionNames(self.settings)
        self._policy = Policy(self.settings)
        self._resolver = Resolver(
            self._policy,
            self.registry,
            self.cache.uses_excess_server,
            tuple(self.settings.scoring_images),
        )
        self._applier = Applier(self.cluster, self.cache)
        self._reporter = Reporter(self.cluster, self.cache)
        self._slots = UpdateSlots(self.settings.max_template_updates, on_turn=self.enqueue)
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
            self.measurements.unsubscribe(key)
            self.shadows.unsubscribe(key)
            await self._reporter.report_invalid(raw, error, self.clock())
            return None
        try:
            resolution = await self._resolver.resolve(resource)
        except ResolutionPending:
            return None  # the registry reports when it is resolved
        live, foreign = await self._live(resource)
        reports = Reports(self.measurements.report(key), self.shadows.report(key))
        plan = self._plan(resource, resolution, live)
        outcome = await self._apply(resource, plan, live, foreign) if plan else Outcome(live)
        # The others that wait in the queue get their children before anybody's status is written.
        if outcome.has_created:
            return REQUEUE_NOW
        snapshot = self._snapshot(resource, resolution, plan, outcome, reports)
        reported = await self._reporter.report(raw, snapshot)
        # What a decision was made by is forgotten only once that is recorded.
        self._follow(resource, plan, reports)
        self._write_back(resource, snapshot, reported)
        grace = status.grace_ends_after(reported["conditions"], snapshot.now)
        return _earliest(requeue_after(snapshot), grace)

    def _forget(self, key: Key) -> None:
        self.registry.unsubscribe(key)
        self.gateways.unsubscribe(key)
        self.measurements.unsubscribe(key)
        self.shadows.unsubscribe(key)
        self.cache.forget_unwatched(key)
        self._slots.release(key)
        self._in_sync.pop(key, None)
        if self.writer is not None:
            self.writer.cancel(key)

    async def _live(self, resource: MLflowModelDeployment) -> tuple[LiveChildren, ForeignObjects]:
        """The live children, and the names that others have. What the cache lacks is looked up.

        A label that somebody has edited hides an object from our watches, and what is only hidden
        goes on serving. What is there may lead to more.
        """
        key, present, absent = resource.key, set[Child](), set[Child]()
        while True:
            live = self.cache.children(key, resource.uid)
            unseen = set(unseen_objects(resource, live)) - present - absent
            if not unseen:
                foreign = (
                    child for child in present if child[1] not in live.of_kind(child[0].kind)
                )
                return live, frozenset((kind.kind, name) for kind, name in foreign)
            for kind, name in unseen:
                is_absent = await confirm_absent(self.cluster, self.cache, key, kind, name)
                (absent if is_absent else present).add((kind, name))

    def _plan(
        self, resource: MLflowModelDeployment, resolution: Resolution, live: LiveChildren
    ) -> Plan | None:
        """Plans; a new pod template of the operator's own making waits for its turn."""
        plan, key = self._plan_with(resource, resolution, live, may_update=False), resource.key
        if plan is None or plan.decision.phase is Phase.STOPPED:
            self._slots.release(key)
        elif plan.is_deferred:
            if self._slots.acquire(key, resource.spec.server.startup_seconds + UPDATE_MARGIN):
                return self._plan_with(resource, resolution, live, may_update=True)
        elif plan.decision.phase is Phase.STABLE:
            self._slots.release(key)
        else:
            self._slots.cancel(key)
        return plan

    def _plan_with(
        self,
        resource: MLflowModelDeployment,
        resolution: Resolution,
        live: LiveChildren,
        may_update: bool,
    ) -> Plan | None:
        around = Surroundings(
            gateway=self.gateways.subscribe(resource.key, resource.gateway),
            excluded_hostnames=frozenset(
                {*self.cache.rivals(resource.key), *self._denied(resource, live)}
            ),
            may_update=may_update,
            analysis=self.measurements.report(resource.key),
            shadow=self.shadows.report(resource.key),
            query_denial=self._policy.prometheus_denial(resource),
        )
        now = self.clock()
        return make_plan(resource, resolution, live, self._revisions, self.settings, now, around)

    def _follow(self, resource: MLflowModelDeployment, plan: Plan | None, reports: Reports) -> None:
        """From now on, pods are read for what the plan needs to know of them."""
        self.measurements.follow(resource.key, self._measurement(resource, plan))
        decision = plan.decision if plan else None
        copies = shadow_measurement(resource, decision, reports.shadow)
        self.shadows.follow(resource.key, copies)

    def _measurement(
        self, resource: MLflowModelDeployment, plan: Plan | None
    ) -> Measurement | None:
        """What to measure now. A Prometheus that is not allowed is not asked, also midway."""
        if plan is None or self._policy.prometheus_denial(resource) is not None:
            return None
        return measurement(resource, plan.decision)

    def _denied(self, resource: MLflowModelDeployment, live: LiveChildren) -> dict[str, str]:
        """The host names that the route must leave out, each with the reason."""
        route = live.routes.get(resource.name)
        return self._policy.hostname_denials(resource, httproute.hostnames(route) if route else ())

    async def _apply(
        self,
        resource: MLflowModelDeployment,
        plan: Plan,
        live: LiveChildren,
        foreign: ForeignObjects,
    ) -> Outcome:
        """Makes the children what `plan` asks for, unless they are known to be."""
        if self._in_sync.get(resource.key) == self._state(resource, plan):
            return Outcome(live)
        desired = desired_objects(resource, plan, live, self.settings)
        changes = remaining = compute_changes(resource, plan, desired, live)
        failures: list[ApplyFailure] = []
        if changes:
            failures = await self._applier.apply(resource.key, changes, foreign)
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

    def _snapshot(
        self,
        resource: MLflowModelDeployment,
        resolution: Resolution,
        plan: Plan | None,
        outcome: Outcome,
        reports: Reports,
    ) -> Snapshot:
        return Snapshot(
            resource=resource,
            resolution=resolution.model,
            canary_resolution=resolution.canary,
            variant_resolutions=resolution.variants,
            decision=plan.decision if plan else None,
            live=outcome.live,
            apply_errors=outcome.failures,
            now=self.clock(),
            gateway=self.gateways.subscribe(resource.key, resource.gateway),
            rivals=self.cache.rivals(resource.key),
            denied_hostnames=self._denied(resource, outcome.live),
            draining=plan.draining if plan else (),
            is_deferred=plan is not None and plan.is_deferred,
            postponed=plan.postponed if plan else None,
            refused=plan.refused if plan else {},
            writes=self._write_state(resource),
            scoring_python_versions=tuple(self.settings.scoring_images),
            analysis=reports.analysis,
            shadow_resolution=resolution.shadow,
            shadow=reports.shadow,
        )

    def _write_state(self, resource: MLflowModelDeployment) -> WriteState | None:
        """How far the writes into the registry are; None where there are to be none."""
        if self.writer is None or not resource.spec.rollout.writes_registry:
            return None
        if denial := self._policy.write_denial(resource):
            return WriteState(denial=WriteFailure(Reason.POLICY_DENIED, denial))
        return self.writer.state(resource.key)

    def _write_back(
        self, resource: MLflowModelDeployment, snapshot: Snapshot, new: KubeObject
    ) -> None:
        """Requests what the status says that the registry is to have; nothing waits for it."""
        if self.writer is None:
            return
        if snapshot.writes is None or snapshot.writes.denial:
            self.writer.cancel(resource.key)
            return
        writes = status.writes(resource, new.get("registry"))
        namespace = resource.namespace
        # The status may name a model from before the spec or the policy was another.
        self.writer.request(
            resource.key, writes.only(lambda model: self._policy.is_writable(namespace, model))
        )


def requeue_after(snapshot: Snapshot) -> float | None:
    """The seconds after which time alone, or something that we don't watch, may change things."""
    return _earliest(
        snapshot.decision.requeue_after if snapshot.decision else None,
        APPLY_RETRY_INTERVAL if snapshot.apply_errors else None,
        FOLLOW_UP_INTERVAL if _has_service_moved(snapshot) else None,
        status.requeue_after(snapshot),
    )


def _earliest(*waits: float | None) -> float | None:
    return min((wait for wait in waits if wait is not None), default=None)


def _has_service_moved(snapshot: Snapshot) -> bool:
    """Whether the Service has the weights now that a rollout without a gateway waits for."""
    decision = snapshot.decision
    trial = decision.trial if decision else None
    if decision is None or trial is None or snapshot.resource.gateway is not None:
        return False
    shares = {decision.stable.name: 100 - trial.weight, decision.target.name: trial.weight}
    sides = {name for name, weight in shares.items() if weight > 0}
    return trial.progress.waiting_for is Cause.ROUTE and snapshot.routing.service == sides
