"""Users' writes, our writes, their responses and the watches' events, in every order there can be.

Whatever the order: the last generation is reconciled, what was edited is repaired, and the cache
ends as the API server is.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, precondition, rule

from mlflow_model_operator.api import names
from mlflow_model_operator.kube import kinds
from mlflow_model_operator.kube.cache import Cache
from mlflow_model_operator.kube.transform import transform
from tests.unit.operator.kube.api_server import KEY, LABELS, ApiServer, Json

MAX_ROUNDS = 50  # until everything has settled
MAX_STEPS = 6  # of one reconcile


def _label_removed(label: str) -> Callable[[Json], None]:
    def remove(obj: Json) -> None:
        obj["metadata"]["labels"].pop(label, None)

    return remove


def _create_again(api: ApiServer) -> None:
    if api.resource is None:
        api.create_resource()


# What users, controllers and the garbage collector do, besides changes of the spec.
WRITES: list[Callable[[ApiServer], object]] = [
    lambda api: api.change_resource(lambda obj: obj["metadata"].update(annotations={"note": 1})),
    lambda api: api.change_resource(lambda obj: obj["metadata"].update(annotations={"note": 2})),
    lambda api: api.change_resource(lambda obj: obj["status"].pop("observedGeneration", None)),
    lambda api: api.change_resource(lambda obj: obj["status"].pop("readyReplicas", None)),
    lambda api: api.delete_resource(),
    _create_again,
    lambda api: api.collect_garbage(),
    lambda api: api.change_deployment(lambda obj: obj["status"].update(readyReplicas=1)),
    lambda api: api.change_deployment(lambda obj: obj["status"].update(readyReplicas=2)),
    lambda api: api.change_deployment(_label_removed(names.MANAGED_BY)),
    lambda api: api.change_deployment(_label_removed(names.DEPLOYMENT)),
    lambda api: api.change_deployment(lambda obj: obj["spec"].update(image=4)),
    lambda api: api.delete_deployment(),
]


class Interleavings(RuleBasedStateMachine):
    """One worker reconciles one resource, as reconcile.py does, a step at a time."""

    def __init__(self) -> None:
        super().__init__()
        self.api = ApiServer()
        self.is_queued = False
        self.cache = Cache(on_change=self._enqueue)
        self.reconcile: Iterator[None] | None = None
        self.api.create_resource()
        self._settle_and_check()

    def _enqueue(self, _: object) -> None:
        self.is_queued = True

    # What others do.

    @rule(image=st.integers(1, 3), is_brought=st.booleans())
    def a_user_changes_the_spec(self, image: int, is_brought: bool) -> None:
        self.api.change_resource(lambda obj: obj["spec"].update(image=image))
        if is_brought:
            self._bring_resources()

    @rule(write=st.sampled_from(WRITES))
    def somebody_else_writes(self, write: Callable[[ApiServer], object]) -> None:
        write(self.api)

    # What the watches bring.

    @precondition(lambda self: self.api.resource_events)
    @rule(data=st.data())
    def kopf_brings_the_last_of_some_events(self, data: st.DataObject) -> None:
        uid = data.draw(st.sampled_from(sorted(self.api.resource_events)))
        events = self.api.resource_events[uid]
        for _ in range(data.draw(st.integers(0, len(events) - 1))):
            events.popleft()
        self._bring_resource(uid)

    @precondition(lambda self: self.api.deployment_messages)
    @rule()
    def the_reflector_brings_the_next(self) -> None:
        first, second = self.api.deployment_messages.popleft()
        if isinstance(first, list):
            for item in first:
                self.cache.ingest_event(kinds.DEPLOYMENT, None, item)
            present = {item["metadata"]["uid"] for item in first}
            self.cache.delete_absent(kinds.DEPLOYMENT, "", present, as_of=str(second))
        else:
            assert isinstance(second, dict)
            self.cache.ingest_event(kinds.DEPLOYMENT, first, second)

    @rule()
    def the_reflector_lists(self) -> None:
        self.api.list_deployments()

    @rule()
    def kopf_lists_and_the_resync_follows(self) -> None:
        self.api.list_resources()
        self._resync()

    # What the operator does: each next step is a request's commit, or the arrival of its response.

    @precondition(lambda self: self.is_queued or self.reconcile)
    @rule(steps=st.integers(1, MAX_STEPS))
    def the_reconcile_goes_on(self, steps: int) -> None:
        if self.reconcile is None:
            self.is_queued = False
            self.reconcile = self._reconcile()
        for _ in range(steps):
            if next(self.reconcile, "ended") == "ended":
                self.reconcile = None
                return

    def _reconcile(self) -> Iterator[None]:
        resource = self.cache.resource(KEY)
        if resource is None:
            return
        uid = resource["metadata"]["uid"]
        live = self.cache.children(KEY, uid).deployments.get("wine-abc")
        image = resource["spec"]["image"]
        yield
        if not _is_as_stated(live, image):
            response = self.api.apply_deployment(LABELS, image, uid)
            yield
            self.cache.store(kinds.DEPLOYMENT, response)
        yield
        ready = (live or {"status": {}})["status"].get("readyReplicas", 0)
        status = {
            "observedGeneration": resource["metadata"]["generation"],
            "readyReplicas": ready,
        }
        patch = {k: v for k, v in status.items() if resource["status"].get(k) != v}
        if not patch:
            return
        written = self.api.change_resource(lambda obj: obj["status"].update(patch))
        yield
        if written is not None:
            self.cache.store(kinds.RESOURCE, written, patch={"status": patch})

    # With all messages brought and nobody writing for a while. That happens within a course as
    # well as at its end: whatever comes later makes good what was lost before.

    @rule(are_watches_slow=st.booleans())
    def nobody_writes_for_a_while(self, are_watches_slow: bool) -> None:
        if are_watches_slow and self.reconcile:
            self.the_reconcile_goes_on(MAX_STEPS)
        self._settle_and_check()

    def teardown(self) -> None:
        self._settle_and_check()

    def _settle_and_check(self) -> None:
        for _ in range(MAX_ROUNDS):
            if not self._go_on():
                break
        else:
            raise AssertionError(f"still at work after {MAX_ROUNDS} rounds")
        self._resync()
        assert not self._go_on()
        self._check_cache()
        if self.api.resource is not None:
            self._check_reconciled(self.api.resource)

    def _go_on(self) -> bool:
        """Brings all that is on its way and ends the reconcile; whether there was anything."""
        self.api.collect_garbage()
        is_at_work = bool(
            self.api.resource_events
            or self.api.deployment_messages
            or self.is_queued
            or self.reconcile
        )
        self._bring_resources()
        while self.api.deployment_messages:
            self.the_reflector_brings_the_next()
        if self.is_queued or self.reconcile:
            self.the_reconcile_goes_on(MAX_STEPS)
        return is_at_work

    def _bring_resources(self) -> None:
        for uid in list(self.api.resource_events):
            while uid in self.api.resource_events:
                self._bring_resource(uid)

    def _bring_resource(self, uid: str) -> None:
        event, obj = self.api.resource_events[uid].popleft()
        if not self.api.resource_events[uid]:
            del self.api.resource_events[uid]
        self.cache.ingest_event(kinds.RESOURCE, event, obj)

    def _resync(self) -> None:
        present = [self.api.resource["metadata"]["uid"]] if self.api.resource else []
        self.cache.delete_absent(kinds.RESOURCE, "", present, as_of=str(self.api.version))

    def _check_cache(self) -> None:
        assert self.cache.resource(KEY) == self.api.resource
        live = self.cache.child(KEY, kinds.DEPLOYMENT, "wine-abc")
        expected = self.api.deployment and transform({**self.api.deployment, "kind": "Deployment"})
        assert live == expected

    def _check_reconciled(self, resource: Json) -> None:
        deployment = self.api.deployment
        assert deployment is not None
        assert deployment["metadata"]["labels"] == LABELS
        assert deployment["spec"]["image"] == resource["spec"]["image"]
        assert resource["status"] == {
            "observedGeneration": resource["metadata"]["generation"],
            "readyReplicas": deployment["status"].get("readyReplicas", 0),
        }


def _is_as_stated(live: Json | None, image: int) -> bool:
    return (
        live is not None
        and LABELS.items() <= live["metadata"]["labels"].items()
        and live["spec"].get("image") == image
    )


TestInterleavings = Interleavings.TestCase
TestInterleavings.settings = settings(max_examples=1000, stateful_step_count=15, deadline=None)
