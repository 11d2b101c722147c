"""One resource, from what is to what must be: read, resolve, decide, render, apply, tell.

Level-triggered: it looks at what is, never at what changed, and may run at any time, any number
of times. Where nothing is to be done it sends nothing.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime

from mlflow_model_operator import status
from mlflow_model_operator.api import names
from mlflow_model_operator.api.model_version import ResolutionError, ResolutionResult
from mlflow_model_operator.api.resource import InvalidResource, Key, MLflowModelDeployment
from mlflow_model_operator.kube import kinds
from mlflow_model_operator.kube.cache import Cache, owned_by
from mlflow_model_operator.kube.client import ApiError, Cluster
from mlflow_model_operator.kube.objects import KubeObject
from mlflow_model_operator.plan import (
    Change,
    Changes,
    Plan,
    Resolution,
    RevisionNames,
    compute_changes,
    desired_objects,
    make_plan,
)
from mlflow_model_operator.registry import Registry
from mlflow_model_operator.settings import Settings
from mlflow_model_operator.status import ApplyError, ApplyFailure, NameTaken, Snapshot

log = logging.getLogger(__name__)

# After something that only others can mend (a quota, a gateway that refuses): look again then.
RETRY_REFUSED = 30.0  # seconds
# How long a gateway may take to say whether it accepts a route before we look whether it exists.
GATEWAY_PATIENCE = 5.0
REQUEUE_NOW = 0.0  # after whatever else waits in the queue


@dataclass
class Reconciler:
    """Holds what reconciling needs; of the resources it holds nothing that can't be lost."""

    settings: Settings
    cluster: Cluster
    cache: Cache
    registry: Registry
    clock: Callable[[], float] = time.time

    def __post_init__(self) -> None:
        self._names = RevisionNames(self.settings)
        # What was fully applied, by resource: while it is the same, nothing is compared again.
        self._in_sync: dict[Key, int] = {}

    async def reconcile(self, key: Key) -> float | None:
        """Brings one resource to its desired state as far as possible now.

        Returns the seconds after which to look again if nothing happens before, or None. Raises
        ApiError where the API server can't be reached or asks for patience.
        """
        raw = self.cache.resource(key)
        if raw is None or "deletionTimestamp" in raw["metadata"]:
            self._forget(key)
            return None
        try:
            resource = MLflowModelDeployment.parse(raw)
        except InvalidResource as error:
            await self._write_status(raw, status.invalid_status(raw, str(error), self.clock()))
            return None
        meaning = await self._resolve(key, resource)
        live = self.cache.children(key, resource.uid)
        plan = make_plan(resource, meaning, live, self._names, self.settings, self.clock())
        errors: list[ApplyFailure] = []
        if plan and self._in_sync.get(key) != self._state(key, resource, plan):
            desired = desired_objects(resource, plan, live, self.settings)
            steps = compute_changes(resource, plan, desired, live)
            errors = await self._take(key, steps)
            # Others may have changed a child while we wrote. Between this look at what is live and
            # the note nothing is awaited, so what is noted is what was looked at.
            live = self.cache.children(key, resource.uid) if steps else live
            left = compute_changes(resource, plan, desired, live) if steps else steps
            if not left:
                self._in_sync[key] = self._state(key, resource, plan)
            # The others that wait in the queue get their children before anybody's status is told.
            if not errors and len(left.absent) < len(steps.absent):
                return REQUEUE_NOW
        snapshot = Snapshot(
            resource=resource,
            resolution=meaning.model,
            canary_resolution=meaning.canary,
            decision=plan.decision if plan else None,
            live=live,
            apply_errors=tuple(errors),
            now=self.clock(),
            gateway_exists=await self._gateway_exists(key, resource),
        )
        await self._tell(raw, snapshot)
        return _requeue_after(snapshot)

    def _forget(self, key: Key) -> None:
        self.registry.forget(key)
        self._in_sync.pop(key, None)

    async def _resolve(self, key: Key, resource: MLflowModelDeployment) -> Resolution:
        spec = resource.spec
        tracking_uri = spec.model.tracking_uri
        uris = {spec.model.uri} | ({spec.canary.uri} if spec.canary else set())
        self.registry.retain(key, {(tracking_uri, uri) for uri in uris})
        return Resolution(
            model=await self._meaning(key, spec.model.uri, tracking_uri),
            canary=await self._meaning(key, spec.canary.uri, tracking_uri) if spec.canary else None,
        )

    async def _meaning(self, key: Key, uri: str, tracking_uri: str | None) -> ResolutionResult:
        try:
            return await self.registry.resolve(key, uri, tracking_uri)
        except ResolutionError as error:
            return error

    async def _take(self, key: Key, steps: Changes) -> list[ApplyFailure]:
        applied = [await self._apply(key, one) for one in _addresses_first(steps.apply)]
        errors = [*applied, await self._scale(key, steps)]
        for obj in steps.prune:
            await self.cluster.delete(kinds.BY_NAME[obj["kind"]], obj)
        return [error for error in errors if error]

    def _state(self, key: Key, resource: MLflowModelDeployment, plan: Plan) -> int:
        children = self.cache.fingerprint(key)
        return hash((resource.uid, resource.generation, plan.identity, children))

    async def _apply(self, key: Key, unmet: Change) -> ApplyFailure | None:
        obj = unmet.desired
        kind, name = kinds.BY_NAME[obj["kind"]], obj["metadata"]["name"]
        try:
            if unmet.is_missing and await self._is_name_taken(kind, obj):
                return NameTaken(kind.kind, name)
            if not unmet.is_missing:
                log.info("%s: applying %s %s: %s differs", key, kind.kind, name, unmet.difference)
            self.cache.store(kind, await self.cluster.apply(kind, obj))
        except ApiError as error:
            return _refused(error, kind, name)
        return None

    async def _scale(self, key: Key, steps: Changes) -> ApplyError | None:
        """An apply of the replicas alone would take the rest of the Deployment away."""
        if steps.scale is None:
            return None
        deployment, replicas = steps.scale
        name = deployment["metadata"]["name"]
        log.info("%s: scaling Deployment %s to %d", key, name, replicas)
        try:
            changed = await self.cluster.scale(kinds.DEPLOYMENT, deployment, replicas)
            self.cache.store(kinds.DEPLOYMENT, changed)
        except ApiError as error:
            return _refused(error, kinds.DEPLOYMENT, name)
        return None

    async def _is_name_taken(self, kind: kinds.Kind, obj: KubeObject) -> bool:
        """An apply would take over somebody else's object of that name: look first.

        Names with a revision's hash can't be taken by chance; the public names can.
        """
        metadata = obj["metadata"]
        if metadata["name"] != metadata["labels"][names.DEPLOYMENT]:
            return False
        found = await self.cluster.get(kind, metadata["namespace"], metadata["name"])
        return found is not None and not owned_by(found, metadata["ownerReferences"][0]["uid"])

    async def _gateway_exists(self, key: Key, resource: MLflowModelDeployment) -> bool | None:
        """Whether the named Gateway is there; only looked up when no gateway answers for long."""
        gateway = resource.spec.routing.gateway
        route = self.cache.child(key, kinds.ROUTE, resource.name)
        if gateway is None or route is None or not _is_left_alone(route, self.clock()):
            return None
        namespace = gateway.namespace or resource.namespace
        try:
            return await self.cluster.get(kinds.GATEWAY, namespace, gateway.name) is not None
        except ApiError as error:
            if error.status == 403:  # in namespaced mode we may not look into each namespace
                return None
            raise

    async def _tell(self, raw: KubeObject, snapshot: Snapshot) -> None:
        new = status.status(snapshot)
        await self._write_status(raw, new)
        for event in status.events(raw.get("status", {}), new, snapshot):
            await self.cluster.tell(raw, event)

    async def _write_status(self, raw: KubeObject, new: KubeObject) -> None:
        patch = status.status_patch(raw.get("status", {}), new)
        if patch is None:
            return
        metadata = raw["metadata"]
        written = await self.cluster.patch_status(
            Key(metadata["namespace"], metadata["name"]), patch
        )
        if written is not None:
            self.cache.store(kinds.RESOURCE, written)


def _refused(error: ApiError, kind: kinds.Kind, name: str) -> ApplyError:
    """What the API server refused; raises what will pass by itself."""
    if error.is_transient:
        raise error
    return ApplyError(kind.kind, name, error.status, error.reason, error.message)


def _addresses_first(unmet: list[Change]) -> list[Change]:
    """Of a resource whose Services are missing, only those for now.

    So of many new resources all get their Services before anybody gets a Deployment: the API server
    gives out addresses one at a time, and takes ten times as long for each while the controllers
    are busy with new pods.
    """
    kind = kinds.SERVICE.kind
    return [one for one in unmet if one.is_missing and one.desired["kind"] == kind] or unmet


def _is_left_alone(route: KubeObject, now: float) -> bool:
    """Whether no gateway has said anything of the route, for longer than one usually takes."""
    created = datetime.fromisoformat(route["metadata"]["creationTimestamp"]).timestamp()
    return not route.get("status", {}).get("parents") and now - created > GATEWAY_PATIENCE


def _requeue_after(snapshot: Snapshot) -> float | None:
    """The seconds after which time alone, or something that we don't watch, may change things."""
    waits = []
    if snapshot.decision and snapshot.decision.requeue_after is not None:
        waits.append(snapshot.decision.requeue_after)
    if snapshot.apply_errors:
        waits.append(RETRY_REFUSED)
    gateway = snapshot.resource.spec.routing.gateway
    route = snapshot.live.routes.get(snapshot.resource.name)
    if gateway and route and not route.get("status", {}).get("parents"):
        waits.append(GATEWAY_PATIENCE)
    explained_later = status.requeue_after(snapshot)
    if explained_later is not None:
        waits.append(explained_later)
    return min(waits, default=None)
