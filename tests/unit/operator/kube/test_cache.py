"""What the cache keeps, for whom, and in which order things may arrive."""

from __future__ import annotations

from typing import Any

from mlflow_model_operator.api import names
from mlflow_model_operator.api.resource import Key
from mlflow_model_operator.kube import kinds
from mlflow_model_operator.kube.cache import Cache

Json = dict[str, Any]
KEY = Key("models", "wine")


def deployment(version: int, uid: str = "d1", owner: str = "u1", **spec: Any) -> Json:
    return {
        "metadata": {
            "namespace": "models",
            "name": "wine-abc",
            "uid": uid,
            "resourceVersion": str(version),
            "labels": {names.DEPLOYMENT: "wine"},
            "ownerReferences": [{"uid": owner}],
            "managedFields": [{"manager": "x"}],
        },
        "spec": spec,
        "status": {"readyReplicas": version},
    }


def resource(version: int, uid: str) -> Json:
    metadata = {"namespace": "models", "name": "wine", "uid": uid, "resourceVersion": str(version)}
    return {"metadata": metadata, "spec": {}}


def pod(version: int, *waiting: str) -> Json:
    """One whose container waits for something, or fares well."""
    metadata = {"labels": {names.DEPLOYMENT: "wine"}, "resourceVersion": str(version)}
    statuses = [{"name": "server", "state": {"waiting": {"reason": why}}} for why in waiting]
    return {
        "metadata": {"namespace": "models", "name": "wine-abc-1", "uid": "p1", **metadata},
        "status": {"phase": "Pending", "containerStatuses": statuses},
    }


def test_a_child_is_found_by_its_resource_and_owner() -> None:
    cache = Cache()
    assert cache.store(kinds.DEPLOYMENT, deployment(1)) == KEY
    assert set(cache.children(KEY, "u1").deployments) == {"wine-abc"}
    assert cache.children(KEY, "another uid").deployments == {}


def test_managed_fields_are_not_kept() -> None:
    cache = Cache()
    cache.store(kinds.DEPLOYMENT, deployment(1))
    child = cache.child(KEY, kinds.DEPLOYMENT, "wine-abc")
    assert child is not None
    assert "managedFields" not in child["metadata"]


def test_an_older_version_never_replaces_a_newer_one() -> None:
    cache = Cache()
    cache.store(kinds.DEPLOYMENT, deployment(10, replicas=2))
    cache.store(kinds.DEPLOYMENT, deployment(9, replicas=1))
    child = cache.child(KEY, kinds.DEPLOYMENT, "wine-abc")
    assert child is not None
    assert child["spec"]["replicas"] == 2


def test_a_late_farewell_does_not_concern_a_new_object_of_the_same_name() -> None:
    cache = Cache()
    cache.store(kinds.DEPLOYMENT, deployment(5, uid="new"))
    cache.drop(kinds.DEPLOYMENT, deployment(4, uid="old"))
    assert cache.child(KEY, kinds.DEPLOYMENT, "wine-abc") is not None
    cache.store(kinds.RESOURCE, resource(5, uid="new"))
    cache.drop(kinds.RESOURCE, resource(4, uid="old"))
    assert cache.resource(KEY) is not None


def test_what_is_deleted_is_gone() -> None:
    cache = Cache()
    cache.store(kinds.DEPLOYMENT, deployment(5))
    cache.store(kinds.RESOURCE, resource(5, uid="u1"))
    cache.drop(kinds.DEPLOYMENT, deployment(6))
    cache.drop(kinds.RESOURCE, resource(6, uid="u1"))
    assert list(cache) == []
    assert cache.children(KEY, "u1").deployments == {}


def test_the_fingerprint_sees_all_but_the_status() -> None:
    cache = Cache()
    cache.store(kinds.DEPLOYMENT, deployment(1, replicas=1))
    before = cache.fingerprint(KEY)
    cache.store(kinds.DEPLOYMENT, deployment(2, replicas=1))  # another status
    assert cache.fingerprint(KEY) == before
    cache.store(kinds.DEPLOYMENT, deployment(3, replicas=2))
    assert cache.fingerprint(KEY) != before


def test_an_object_without_our_label_is_nobodys() -> None:
    stray = deployment(1)
    stray["metadata"]["labels"] = {}
    assert Cache().store(kinds.DEPLOYMENT, stray) is None


def test_our_own_write_is_known_when_its_event_comes() -> None:
    cache = Cache()
    cache.store(kinds.DEPLOYMENT, deployment(3))
    assert cache.has(kinds.DEPLOYMENT, deployment(3))
    # What somebody did just before is news, although our write came after it.
    assert not cache.has(kinds.DEPLOYMENT, deployment(2))
    assert not cache.has(kinds.DEPLOYMENT, deployment(4))
    cache.store(kinds.RESOURCE, resource(5, "u1"))
    assert cache.has(kinds.RESOURCE, resource(5, "u1"))
    assert not cache.has(kinds.RESOURCE, resource(6, "u1"))


def test_a_change_of_what_nobody_looks_at_is_no_news() -> None:
    cache = Cache()
    assert cache.take(kinds.DEPLOYMENT, "ADDED", deployment(1)) == KEY
    told = {**deployment(2), "status": {"readyReplicas": 1, "observedGeneration": 2}}
    assert cache.take(kinds.DEPLOYMENT, "MODIFIED", told) is None
    assert cache.take(kinds.DEPLOYMENT, "MODIFIED", deployment(3)) == KEY
    # The later version is known all the same: an older one does not come back.
    assert cache.take(kinds.DEPLOYMENT, "MODIFIED", deployment(1)) is None
    child = cache.child(KEY, kinds.DEPLOYMENT, "wine-abc")
    assert child is not None
    assert child["status"]["readyReplicas"] == 3


def test_a_pod_is_news_while_it_is_in_trouble() -> None:
    cache = Cache()
    assert cache.take(kinds.POD, "ADDED", pod(1)) is None
    assert cache.take(kinds.POD, "MODIFIED", pod(2, "ContainerCreating")) is None
    assert cache.take(kinds.POD, "MODIFIED", pod(3, "ImagePullBackOff")) == KEY
    assert set(cache.children(KEY, "u1").pods) == {"wine-abc-1"}
    assert cache.take(kinds.POD, "MODIFIED", pod(4, "ContainerCreating")) == KEY
    assert cache.children(KEY, "u1").pods == {}
    assert cache.take(kinds.POD, "DELETED", pod(5)) is None


def test_the_end_of_what_was_kept_is_news() -> None:
    cache = Cache()
    cache.take(kinds.POD, "ADDED", pod(1, "ImagePullBackOff"))
    assert cache.take(kinds.POD, "DELETED", pod(2)) == KEY


def test_what_is_not_ours_is_never_known() -> None:
    foreign = deployment(3)
    foreign["metadata"]["labels"] = {}
    assert not Cache().has(kinds.DEPLOYMENT, foreign)
