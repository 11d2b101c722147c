"""Users' writes, our writes, their responses and the watches' events, in every order there can be.

Whatever the order: the last generation is reconciled, what was edited is repaired, and the cache
ends as the API server is.
"""

from __future__ import annotations

from collections.abc import Iterator

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, precondition, rule

from mlflow_model_operator.api import names
from mlflow_model_operator.kube import kinds
from mlflow_model_operator.kube.cache import Cache
from mlflow_model_operator.kube.transform import transform
from tests.unit.operator.kube.api_server import KEY, LABELS, ApiServer, Json

MAX_ROUNDS = 50  # until everything has settled


class Interleavings(RuleBasedStateMachine):
    """One worker reconciles one resource, as reconcile.py does, a step at a time."""

    def __init__(self) -> None:
        super().__init__()
        self.api = ApiServer()
        self.is_queued = False
        self.cache = Cache(on_change=self._enqueue)
        self.reconcile: Iterator[None] | None = None
        self.api.create_resource()

    def _enqueue(self, _: object) -> None:
        self.is_queued = True

    # What others do.

    @rule(image=st.integers(1, 3))
    def a_user_changes_the_spec(self, image: int) -> None:
        self.api.change_resource(lambda obj: obj["spec"].update(image=image))

    @rule(note=st.integers(1, 3))
    def a_user_annotates(self, note: int) -> None:
        self.api.change_resource(lambda obj: obj["metadata"].update(annotations={"note": note}))

    @rule(field=st.sampled_from(["observedGeneration", "readyReplicas"]))
    def a_user_edits_the_status(self, field: str) -> None:
        self.api.change_resource(lambda obj: obj["status"].pop(field, None))

    @rule()
    def a_user_deletes_the_resource(self) -> None:
        self.api.delete_resource()

    @precondition(lambda self: self.api.resource is None)
    @rule()
    def a_user_creates_it_again(self) -> None:
        self.api.create_resource()

    @rule()
    def the_garbage_collector_runs(self) -> None:
        self.api.collect_garbage()

    @rule(ready=st.integers(0, 2))
    def pods_get_ready(self, ready: int) -> None:
        self.api.change_deployment(lambda obj: obj["status"].update(readyReplicas=ready))

    @rule(label=st.sampled_from([names.MANAGED_BY, names.DEPLOYMENT]))
    def a_user_removes_a_label(self, label: str) -> None:
        self.api.change_deployment(lambda obj: obj["metadata"]["labels"].pop(label, None))

    @rule(image=st.integers(4, 5))
    def a_user_edits_the_deployment(self, image: int) -> None:
        self.api.change_deployment(lambda obj: obj["spec"].update(image=image))

    @rule()
    def a_user_deletes_the_deployment(self) -> None:
        self.api.delete_deployment()

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
    @rule()
    def the_reconcile_goes_on(self) -> None:
        if self.reconcile is None:
            self.is_queued = False
            self.reconcile = self._reconcile()
        if next(self.reconcile, "ended") == "ended":
            self.reconcile = None

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

    # In the end, with all messages brought and nobody writing any more.

    def teardown(self) -> None:
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
        is_at_work = bool(self.api.deployment_messages or self.is_queued or self.reconcile)
        for uid in list(self.api.resource_events):
            is_at_work = True
            while uid in self.api.resource_events:
                self._bring_resource(uid)
        while self.api.deployment_messages:
            self.the_reflector_brings_the_next()
        while self.is_queued or self.reconcile:
            was_running = self.reconcile is not None
            self.the_reconcile_goes_on()
            if was_running and self.reconcile is None:
                break
        return is_at_work

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
TestInterleavings.settings = settings(max_examples=500, stateful_step_count=40, deadline=None)
