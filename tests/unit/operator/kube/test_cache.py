"""What the cache stores, under which resource, and in which order things may arrive."""

from __future__ import annotations

import copy
from typing import Any

import pytest

from mlflow_model_operator.api import names
from mlflow_model_operator.api.resource import Key
from mlflow_model_operator.kube import deletions, kinds
from mlflow_model_operator.kube.cache import Cache

Json = dict[str, Any]
KEY = Key("models", "wine")
OTHER = Key("models", "beer")


class Reporting(Cache):
    """A cache, and what it has reported since it was last looked at."""

    def __init__(self) -> None:
        self.now = 0.0
        self._reported: list[Key] = []
        super().__init__(on_change=self._reported.append, clock=lambda: self.now)

    def reported(self) -> list[Key]:
        reported = self._reported.copy()
        self._reported.clear()
        return reported


@pytest.fixture
def cache() -> Reporting:
    return Reporting()


def deployment(version: int, uid: str = "d1", owner: str = "u1", **spec: Any) -> Json:
    return {
        "metadata": {
            "namespace": "models",
            "name": "wine-abc",
            "uid": uid,
            "resourceVersion": str(version),
            "labels": {names.DEPLOYMENT: "wine"},
            "ownerReferences": [{"kind": names.KIND, "name": "wine", "uid": owner}],
            "managedFields": [{"manager": "x"}],
        },
        "spec": spec,
        "status": {"readyReplicas": version},
    }


def owned(version: int, labels: Json | None = None, owner: str = "wine", **status: Any) -> Json:
    """A Deployment with a whole owner reference; its labels may be edited."""
    obj = deployment(version)
    reference = {"apiVersion": names.API_VERSION, "kind": names.KIND, "name": owner, "uid": "u1"}
    obj["metadata"] |= {"ownerReferences": [reference], "labels": labels or {}}
    return {**obj, "status": status}


def resource(version: int, uid: str, generation: int = 1, **status: Any) -> Json:
    metadata = {
        "namespace": "models",
        "name": "wine",
        "uid": uid,
        "resourceVersion": str(version),
        "generation": generation,
    }
    return {"metadata": metadata, "spec": {"generation": generation}, "status": status}


def pod(version: int, *waiting: str, **metadata: Any) -> Json:
    """One whose container waits for something, or is healthy."""
    metadata = {"labels": {names.DEPLOYMENT: "wine"}, "resourceVersion": str(version), **metadata}
    statuses = [{"name": "server", "state": {"waiting": {"reason": why}}} for why in waiting]
    return {
        "metadata": {"namespace": "models", "name": "wine-abc-1", "uid": "p1", **metadata},
        "status": {"phase": "Pending", "containerStatuses": statuses},
    }


def test_a_child_is_found_by_its_resource_and_owner(cache: Reporting) -> None:
    cache.store(kinds.DEPLOYMENT, deployment(1))
    assert set(cache.children(KEY, "u1").deployments) == {"wine-abc"}
    assert cache.children(KEY, "another uid").deployments == {}


def test_a_child_that_nobody_owns_is_the_resources_that_its_labels_name(cache: Reporting) -> None:
    orphan = deployment(1)
    orphan["metadata"]["ownerReferences"] = []
    cache.store(kinds.DEPLOYMENT, orphan)
    assert set(cache.children(KEY, "u1").deployments) == {"wine-abc"}


def test_managed_fields_are_not_stored(cache: Reporting) -> None:
    cache.store(kinds.DEPLOYMENT, deployment(1))
    child = cache.child(KEY, kinds.DEPLOYMENT, "wine-abc")
    assert child is not None
    assert "managedFields" not in child["metadata"]


def test_an_older_version_never_replaces_a_newer_one(cache: Reporting) -> None:
    cache.store(kinds.DEPLOYMENT, deployment(10, replicas=2))
    cache.store(kinds.DEPLOYMENT, deployment(9, replicas=1))
    child = cache.child(KEY, kinds.DEPLOYMENT, "wine-abc")
    assert child is not None
    assert child["spec"]["replicas"] == 2


def test_a_late_deletion_does_not_concern_a_new_object_of_the_same_name(cache: Reporting) -> None:
    cache.store(kinds.DEPLOYMENT, deployment(5, uid="new"))
    cache.ingest_event(kinds.DEPLOYMENT, "DELETED", deployment(4, uid="old"))
    assert cache.child(KEY, kinds.DEPLOYMENT, "wine-abc") is not None
    cache.store(kinds.RESOURCE, resource(5, uid="new"))
    cache.ingest_event(kinds.RESOURCE, "DELETED", resource(4, uid="old"))
    assert cache.resource(KEY) is not None


def test_what_is_deleted_is_gone(cache: Reporting) -> None:
    cache.store(kinds.DEPLOYMENT, deployment(5))
    cache.store(kinds.RESOURCE, resource(5, uid="u1"))
    cache.ingest_event(kinds.DEPLOYMENT, "DELETED", deployment(6))
    cache.ingest_event(kinds.RESOURCE, "DELETED", resource(6, uid="u1"))
    assert list(cache) == []
    assert cache.children(KEY, "u1").deployments == {}


def test_the_fingerprint_covers_all_but_the_status(cache: Reporting) -> None:
    cache.store(kinds.DEPLOYMENT, deployment(1, replicas=1))
    before = cache.fingerprint(KEY)
    cache.store(kinds.DEPLOYMENT, deployment(2, replicas=1))  # another status
    assert cache.fingerprint(KEY) == before
    cache.store(kinds.DEPLOYMENT, deployment(3, replicas=2))
    assert cache.fingerprint(KEY) != before


def test_an_object_without_owner_and_label_belongs_to_no_resource(cache: Reporting) -> None:
    stray = deployment(1)
    stray["metadata"] |= {"labels": {}, "ownerReferences": []}
    cache.store(kinds.DEPLOYMENT, stray)
    cache.ingest_event(kinds.DEPLOYMENT, "ADDED", stray)
    assert cache.children(KEY, "u1").deployments == {}
    assert cache.reported() == []


def test_the_event_of_our_own_write_is_no_news(cache: Reporting) -> None:
    cache.store(kinds.DEPLOYMENT, deployment(3))
    cache.reported()
    # What somebody did just before is news, although our write came after it.
    cache.ingest_event(kinds.DEPLOYMENT, "MODIFIED", deployment(2))
    assert cache.reported() == [KEY]
    cache.ingest_event(kinds.DEPLOYMENT, "MODIFIED", deployment(3))
    assert cache.reported() == []
    cache.ingest_event(kinds.DEPLOYMENT, "MODIFIED", deployment(4))
    assert cache.reported() == [KEY]
    cache.store(kinds.RESOURCE, resource(5, "u1"))
    cache.reported()
    cache.ingest_event(kinds.RESOURCE, "MODIFIED", resource(5, "u1"))
    assert cache.reported() == []
    cache.ingest_event(kinds.RESOURCE, "MODIFIED", resource(6, "u1", generation=2))
    assert cache.reported() == [KEY]


def test_a_change_of_what_is_never_read_is_no_news(cache: Reporting) -> None:
    cache.ingest_event(kinds.DEPLOYMENT, "ADDED", deployment(1))
    assert cache.reported() == [KEY]
    observed = {**deployment(2), "status": {"readyReplicas": 1, "observedGeneration": 2}}
    cache.ingest_event(kinds.DEPLOYMENT, "MODIFIED", observed)
    assert cache.reported() == []
    cache.ingest_event(kinds.DEPLOYMENT, "MODIFIED", deployment(3))
    assert cache.reported() == [KEY]
    # The later version is recorded all the same: an older one does not come back.
    cache.ingest_event(kinds.DEPLOYMENT, "MODIFIED", deployment(1))
    assert cache.reported() == []
    child = cache.child(KEY, kinds.DEPLOYMENT, "wine-abc")
    assert child is not None
    assert child["status"]["readyReplicas"] == 3


def test_a_pod_is_news_while_it_is_in_trouble(cache: Reporting) -> None:
    cache.ingest_event(kinds.POD, "ADDED", pod(1))
    cache.ingest_event(kinds.POD, "MODIFIED", pod(2, "ContainerCreating"))
    assert cache.reported() == []
    cache.ingest_event(kinds.POD, "MODIFIED", pod(3, "ImagePullBackOff"))
    assert cache.reported() == [KEY]
    assert set(cache.children(KEY, "u1").pods) == {"wine-abc-1"}
    cache.ingest_event(kinds.POD, "MODIFIED", pod(4, "ContainerCreating"))
    assert cache.reported() == [KEY]
    assert cache.children(KEY, "u1").pods == {}
    cache.ingest_event(kinds.POD, "DELETED", pod(5))
    assert cache.reported() == []


def test_the_end_of_what_was_stored_is_news(cache: Reporting) -> None:
    cache.ingest_event(kinds.POD, "ADDED", pod(1, "ImagePullBackOff"))
    cache.reported()
    cache.ingest_event(kinds.POD, "DELETED", pod(2))
    assert cache.reported() == [KEY]


def test_a_generation_in_the_response_to_a_status_patch_is_news(cache: Reporting) -> None:
    cache.ingest_event(kinds.RESOURCE, "ADDED", resource(878, "u1", 2, observedGeneration=1))
    cache.reported()
    # The user writes generation 3 as version 880, and our patch is answered first.
    written = resource(881, "u1", 3, observedGeneration=2)
    cache.store(kinds.RESOURCE, written, patch={"status": {"observedGeneration": 2}})
    assert cache.reported() == [KEY]
    # kopf brings only the last of several events.
    cache.ingest_event(kinds.RESOURCE, "MODIFIED", written)
    assert cache.reported() == []


@pytest.mark.parametrize("removed", ["stable", "phase"])
def test_so_is_a_status_that_somebody_else_has_written(cache: Reporting, removed: str) -> None:
    before = resource(1, "u1", stable={"revision": "a"}, phase="Stable")
    cache.ingest_event(kinds.RESOURCE, "ADDED", before)
    cache.reported()
    written = copy.deepcopy(before)
    written["metadata"]["resourceVersion"] = "3"
    del written["status"][removed]
    written["status"]["url"] = "http://wine"
    cache.store(kinds.RESOURCE, written, patch={"status": {"url": "http://wine"}})
    assert cache.reported() == [KEY]


@pytest.mark.parametrize("status", [{}, {"phase": "Updating", "url": "http://wine"}])
def test_our_own_status_is_no_news(cache: Reporting, status: Json) -> None:
    cache.ingest_event(kinds.RESOURCE, "ADDED", resource(1, "u1", **status))
    cache.reported()
    patch = {"status": {"phase": "Stable", "url": None}}
    cache.store(kinds.RESOURCE, resource(2, "u1", phase="Stable"), patch=patch)
    assert cache.reported() == []


def test_an_event_that_came_before_the_response_is_reported_once(cache: Reporting) -> None:
    cache.ingest_event(kinds.RESOURCE, "ADDED", resource(1, "u1"))
    cache.ingest_event(kinds.RESOURCE, "MODIFIED", resource(2, "u1", 2))
    assert cache.reported() == [KEY, KEY]
    written = resource(3, "u1", 2, observedGeneration=1)
    cache.store(kinds.RESOURCE, written, patch={"status": {"observedGeneration": 1}})
    assert cache.reported() == []


def test_a_list_reports_what_a_response_may_have_hidden(cache: Reporting) -> None:
    cache.store(kinds.DEPLOYMENT, deployment(3))
    cache.reported()
    cache.ingest_event(kinds.DEPLOYMENT, None, deployment(3))
    assert cache.reported() == [KEY]
    cache.ingest_event(kinds.DEPLOYMENT, None, deployment(3))
    assert cache.reported() == []


def test_what_was_not_stored_before_is_read_again(cache: Reporting) -> None:
    """It may have existed outside of our watch, and have a status that nobody has looked at."""
    cache.store(kinds.DEPLOYMENT, deployment(3))
    assert cache.reported() == [KEY]
    cache.store(kinds.DEPLOYMENT, deployment(4))
    assert cache.reported() == []


@pytest.mark.parametrize("labels", [{}, {names.DEPLOYMENT: "beer"}])
def test_a_child_whose_label_was_edited_stays_with_its_owner(
    cache: Reporting, labels: Json
) -> None:
    cache.ingest_event(kinds.DEPLOYMENT, "ADDED", owned(1, {names.DEPLOYMENT: "wine"}))
    fingerprint = cache.fingerprint(KEY)
    cache.reported()
    cache.ingest_event(kinds.DEPLOYMENT, "MODIFIED", owned(2, labels, readyReplicas=3))
    assert cache.reported() == [KEY]
    child = cache.child(KEY, kinds.DEPLOYMENT, "wine-abc")
    assert child is not None
    assert (child["metadata"]["labels"], child["status"]["readyReplicas"]) == (labels, 3)
    assert cache.fingerprint(KEY) != fingerprint  # so that the label is applied again
    cache.ingest_event(kinds.DEPLOYMENT, "MODIFIED", owned(3, labels))
    assert cache.reported() == [KEY]
    cache.ingest_event(kinds.DEPLOYMENT, "DELETED", owned(4, labels))
    assert cache.reported() == [KEY]
    assert cache.child(KEY, kinds.DEPLOYMENT, "wine-abc") is None


def test_a_child_without_owner_and_label_is_stored_no_more(cache: Reporting) -> None:
    cache.ingest_event(kinds.DEPLOYMENT, "ADDED", owned(1))
    cache.reported()
    orphan = owned(2)
    orphan["metadata"]["ownerReferences"] = []
    cache.ingest_event(kinds.DEPLOYMENT, "MODIFIED", orphan)
    assert cache.reported() == [KEY]
    assert cache.child(KEY, kinds.DEPLOYMENT, "wine-abc") is None


def test_a_child_that_moves_to_another_owner_concerns_both(cache: Reporting) -> None:
    cache.ingest_event(kinds.DEPLOYMENT, "ADDED", owned(1))
    cache.reported()
    cache.ingest_event(kinds.DEPLOYMENT, "MODIFIED", owned(2, owner="beer"))
    assert sorted(cache.reported()) == [OTHER, KEY]
    assert cache.child(KEY, kinds.DEPLOYMENT, "wine-abc") is None
    assert cache.child(OTHER, kinds.DEPLOYMENT, "wine-abc") is not None


def test_a_pod_belongs_to_the_resource_of_its_deployment(cache: Reporting) -> None:
    cache.ingest_event(kinds.DEPLOYMENT, "ADDED", owned(1))
    by_replica_set = [{"kind": "ReplicaSet", "name": "wine-abc-5f6d", "uid": "r1"}]
    failing = pod(2, "ImagePullBackOff", ownerReferences=by_replica_set)
    cache.ingest_event(kinds.POD, "ADDED", failing)
    cache.reported()
    unlabelled = pod(3, "CrashLoopBackOff", ownerReferences=by_replica_set, labels={})
    cache.ingest_event(kinds.POD, "MODIFIED", unlabelled)
    assert cache.reported() == [KEY]
    assert set(cache.children(KEY, "u1").pods) == {"wine-abc-1"}


def test_a_pod_in_quarantine_is_stored_no_more(cache: Reporting) -> None:
    cache.ingest_event(kinds.POD, "ADDED", pod(1, "ImagePullBackOff"))
    cache.reported()
    cache.ingest_event(kinds.POD, "MODIFIED", pod(2, "ImagePullBackOff", labels={}))
    assert cache.reported() == [KEY]
    assert cache.children(KEY, "u1").pods == {}


def test_what_takes_the_place_of_a_deleted_object_is_read_again(cache: Reporting) -> None:
    """Whoever wrote it has seen the status of the deleted one, and its end comes later."""
    cache.ingest_event(kinds.DEPLOYMENT, "ADDED", deployment(1, uid="d1"))
    cache.reported()
    cache.store(kinds.DEPLOYMENT, deployment(3, uid="d2"))
    assert cache.reported() == [KEY]
    cache.ingest_event(kinds.DEPLOYMENT, "DELETED", deployment(2, uid="d1"))
    assert cache.children(KEY, "u1").deployments["wine-abc"]["metadata"]["uid"] == "d2"


def test_a_deployment_that_we_scale_is_read_again(cache: Reporting) -> None:
    """Whether it is ready is a matter of that number, and it may be ready at once."""
    cache.ingest_event(kinds.DEPLOYMENT, "ADDED", deployment(1, replicas=7))
    cache.reported()
    cache.store(kinds.DEPLOYMENT, deployment(2, replicas=1))
    assert cache.reported() == [KEY]
    cache.store(kinds.DEPLOYMENT, deployment(3, replicas=1))
    assert cache.reported() == []


def test_a_late_response_does_not_bring_back_what_was_deleted(cache: Reporting) -> None:
    cache.ingest_event(kinds.DEPLOYMENT, "ADDED", deployment(1))
    cache.ingest_event(kinds.DEPLOYMENT, "DELETED", deployment(3))
    cache.reported()
    cache.store(kinds.DEPLOYMENT, deployment(2))
    assert cache.children(KEY, "u1").deployments == {}
    assert cache.reported() == [KEY]  # whoever has just written it has to write it again
    # Nor does it bring back what was never stored.
    cache.delete_absent(kinds.SERVICE, "", (), as_of="9")
    cache.store(kinds.SERVICE, deployment(8))
    assert cache.children(KEY, "u1").services == {}
    cache.store(kinds.SERVICE, deployment(10))
    assert set(cache.children(KEY, "u1").services) == {"wine-abc"}


def test_what_only_left_our_watch_is_stored_again(cache: Reporting) -> None:
    """A watch reports DELETED also of an object that lost the label that the watch selects by."""
    cache.ingest_event(kinds.DEPLOYMENT, "ADDED", deployment(1))
    cache.ingest_event(kinds.DEPLOYMENT, "DELETED", deployment(2))
    cache.store_read(kinds.DEPLOYMENT, deployment(2))  # a GET shows that it is there
    assert set(cache.children(KEY, "u1").deployments) == {"wine-abc"}
    cache.store(kinds.DEPLOYMENT, deployment(4))  # our apply sets the label
    cache.reported()
    cache.ingest_event(kinds.DEPLOYMENT, "DELETED", deployment(3))  # another lost one before
    assert cache.reported() == [KEY]
    assert set(cache.children(KEY, "u1").deployments) == {"wine-abc"}


def test_deletions_are_remembered_for_a_while_only(cache: Reporting) -> None:
    for number in range(100):
        cache.ingest_event(kinds.DEPLOYMENT, "DELETED", deployment(3, uid=f"d{number}"))
        cache.now += deletions.RETENTION / 10
    assert len(cache._deletions._by_uid) <= 11
