"""The operator's requests take time, and meanwhile others write and the watches bring news.

Once nobody writes any more and all news has arrived, the last generation has been reconciled, and
one more reconcile finds nothing to do. Nothing but the news asks for a reconcile: no timer and no
resync makes good what was lost. (tests/unit/operator/kube/test_interleavings.py has resources that
are deleted and watches that are cut off as well.)
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Generator
from typing import Any

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, precondition, rule

from mlflow_model_operator.api import names
from mlflow_model_operator.kube import kinds
from mlflow_model_operator.kube.client import ApiError
from mlflow_model_operator.kube.kinds import Kind
from mlflow_model_operator.reconcile import FOLLOW_UP_INTERVAL
from tests.unit.operator.simulation.cluster import KEY, FakeCluster, Json
from tests.unit.operator.simulation.operator import World

MAX_ROUNDS = 50  # until everything has settled
MAX_STEPS = 12  # of one reconcile
WATCHED = (kinds.RESOURCE, kinds.DEPLOYMENT, kinds.SERVICE)


class Connection:
    """A way to the API server: requests take time to get there, and so do responses."""

    def __init__(self, cluster: FakeCluster) -> None:
        self._cluster = cluster

    def __getattr__(self, name: str) -> Callable[..., Coroutine[Any, Any, Any]]:
        send = getattr(self._cluster, name)

        async def request(*arguments: Any) -> Any:
            await _Pause()
            try:
                response = await send(*arguments)
            except KeyError:
                raise ApiError(404, "NotFound", "it was deleted") from None
            await _Pause()
            return response

        return request


class SlowWorld(World):
    """The same, where requests take time."""

    connect = Connection


class _Pause:
    """Others have their turn."""

    def __await__(self) -> Generator[None, None, None]:
        yield


def _edited(kind: Kind, patch: Json) -> Callable[[FakeCluster], None]:
    """A merge patch of each object of a kind, by anybody."""

    def write(cluster: FakeCluster) -> None:
        for name in cluster.live(kind):
            cluster.edit(kind, name, patch)

    return write


def _deleted(kind: Kind) -> Callable[[FakeCluster], None]:
    def write(cluster: FakeCluster) -> None:
        for name in cluster.live(kind):
            cluster.remove(kind, name)

    return write


# What users and controllers do, besides changes of the spec.
WRITES = {
    "annotates": _edited(kinds.RESOURCE, {"metadata": {"annotations": {"note": "1"}}}),
    "annotates again": _edited(kinds.RESOURCE, {"metadata": {"annotations": {"note": "2"}}}),
    "edits the status": _edited(kinds.RESOURCE, {"status": {"observedGeneration": 1}}),
    "pods fail": _edited(kinds.DEPLOYMENT, {"status": {"readyReplicas": 0}}),
    "pods get ready": _edited(kinds.DEPLOYMENT, {"status": {"readyReplicas": 3}}),
    "scales": _edited(kinds.DEPLOYMENT, {"spec": {"replicas": 7}}),
    "relabels": _edited(kinds.DEPLOYMENT, {"metadata": {"labels": {names.MANAGED_BY: "helm"}}}),
    "deletes the Deployments": _deleted(kinds.DEPLOYMENT),
    "edits the Services": _edited(
        kinds.SERVICE, {"spec": {"selector": {names.DEPLOYMENT: "other"}}}
    ),
    "deletes the Services": _deleted(kinds.SERVICE),
}


class InterleavedWrites(RuleBasedStateMachine):
    """The real reconciler and cache, a step at a time."""

    def __init__(self) -> None:
        super().__init__()
        self.world = SlowWorld(has_gateway=False)
        self.world.settle()
        self.cluster, self.queue = self.world.cluster, self.world.enqueued
        self.queue.clear()
        self.reconcile: Coroutine[Any, Any, float | None] | None = None

    # What others do.

    @rule(replicas=st.integers(1, 3), is_brought=st.booleans())
    def a_user_scales(self, replicas: int, is_brought: bool) -> None:
        self.world.spec({"scaling": {"minReplicas": replicas}})
        if is_brought:
            self.watches_bring(kinds.RESOURCE)

    @rule(mode=st.sampled_from(["a", "b"]), is_brought=st.booleans())
    def a_user_changes_the_template(self, mode: str, is_brought: bool) -> None:
        self.world.spec({"server": {"env": [{"name": "MODE", "value": mode}]}})
        if is_brought:
            self.watches_bring(kinds.RESOURCE)

    @rule(write=st.sampled_from(sorted(WRITES)))
    def somebody_else(self, write: str) -> None:
        WRITES[write](self.cluster)

    # What the watches bring.

    @precondition(lambda self: self.cluster.events)
    @rule(kind=st.sampled_from(WATCHED), count=st.integers(1, 3))
    def watches_bring(self, kind: Kind, count: int = MAX_STEPS) -> None:
        """The next events of a kind; of several of the resource kopf may bring only the last."""
        events = [event for event in self.cluster.events if event[0] is kind]
        brought = events[:count]
        self.cluster.events = [event for event in self.cluster.events if event not in brought]
        assert self.cluster.cache is not None
        for _, event, obj in brought[-1:] if kind is kinds.RESOURCE else brought:
            self.cluster.cache.ingest_event(kind, event, obj)

    # What the operator does: each next step is a request's arrival, or that of its response.

    @precondition(lambda self: self.queue or self.reconcile)
    @rule(steps=st.integers(1, MAX_STEPS))
    def the_reconcile_goes_on(self, steps: int) -> None:
        if self.reconcile is None:
            self.queue.clear()
            self.reconcile = self.world.reconciler.reconcile(KEY)
        for _ in range(steps):
            try:
                self.reconcile.send(None)
            except StopIteration as end:
                self._end(end.value)
                return

    def _end(self, requeue_after: float | None) -> None:
        self.reconcile = None
        if requeue_after is not None and requeue_after <= FOLLOW_UP_INTERVAL:
            self.queue.add(KEY)

    # With all news brought and nobody writing for a while. That happens within a course as well as
    # at its end: whatever comes later makes good what was lost before.

    @rule(are_watches_slow=st.booleans())
    def nobody_writes_for_a_while(self, are_watches_slow: bool) -> None:
        self._settle_and_check(are_watches_slow)

    def teardown(self) -> None:
        self._settle_and_check(are_watches_slow=False)

    def _settle_and_check(self, are_watches_slow: bool) -> None:
        if are_watches_slow:
            self._end_reconcile()
        self._settle()
        resource = self.world.resource
        assert self.world.status["observedGeneration"] == resource["metadata"]["generation"]
        self.cluster.requests.clear()
        self.queue.add(KEY)
        self._end_reconcile(begin=True)
        writes = [sent for sent in self.cluster.requests if not sent.startswith("get ")]
        assert not writes, "nobody asked for that reconcile"

    def _settle(self) -> None:
        for _ in range(MAX_ROUNDS):
            if not self.cluster.events and not self.queue and not self.reconcile:
                return
            self.cluster.deliver()
            self._end_reconcile(begin=True)
        raise AssertionError(f"still at work after {MAX_ROUNDS} rounds")

    def _end_reconcile(self, begin: bool = False) -> None:
        if self.reconcile is None and not (begin and self.queue):
            return
        self.the_reconcile_goes_on(1)
        while self.reconcile is not None:
            self.the_reconcile_goes_on(1)


TestInterleavedWrites = InterleavedWrites.TestCase
TestInterleavedWrites.settings = settings(
    max_examples=400,
    stateful_step_count=12,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow],
)
