"""The accessors of Kubernetes objects take what the API server leaves out."""

from __future__ import annotations

from typing import Any

import pytest

from mlflow_model_operator.api import names
from mlflow_model_operator.kube import objects
from mlflow_model_operator.kube.objects import is_child_of, is_hidden

Json = dict[str, Any]

BARE: Json = {"metadata": {"name": "wine", "namespace": "models"}}
FULL: Json = {
    "metadata": {
        "name": "wine",
        "namespace": "models",
        "uid": "u-1",
        "labels": {"app": "wine"},
        "generation": 3,
        "resourceVersion": "42",
        "creationTimestamp": "2026-01-01T00:00:00Z",
        "deletionTimestamp": "2026-01-02T00:00:00Z",
        "ownerReferences": [{"uid": "o-1"}, {"uid": "o-2"}],
    },
    "status": {"conditions": [{"type": "A", "status": "True"}, {"type": "B", "status": "False"}]},
}


def test_what_is_there_is_read() -> None:
    assert (objects.name_of(FULL), objects.namespace_of(FULL)) == ("wine", "models")
    assert objects.uid_of(FULL) == "u-1"
    assert objects.labels_of(FULL) == {"app": "wine"}
    assert objects.generation_of(FULL) == 3
    assert objects.resource_version_of(FULL) == "42"
    assert objects.created_at(FULL) == 1767225600.0
    assert objects.is_deleting(FULL)
    assert objects.owner_uids(FULL) == ("o-1", "o-2")
    assert objects.is_owned_by(FULL, "o-2") and not objects.is_owned_by(FULL, "o-3")


@pytest.mark.parametrize("null", [False, True])
def test_what_is_missing_or_null_is_empty(null: bool) -> None:
    obj = {"metadata": {**dict.fromkeys(FULL["metadata"]), **BARE["metadata"]}} if null else BARE
    assert objects.uid_of(obj) == ""
    assert objects.labels_of(obj) == {}
    assert objects.generation_of(obj) == 0
    assert objects.resource_version_of(obj) == ""
    assert objects.created_at(obj) is None
    assert not objects.is_deleting(obj)
    assert objects.owner_uids(obj) == ()
    assert objects.status_of({**obj, "status": None} if null else obj) == {}


def test_a_condition_is_found_by_its_type() -> None:
    assert objects.find_condition(FULL, "A") == {"type": "A", "status": "True"}
    assert objects.is_true(objects.find_condition(FULL, "A"))
    assert not objects.is_true(objects.find_condition(FULL, "B"))
    assert not objects.is_true(objects.find_condition(FULL, "C"))


@pytest.mark.parametrize("obj", [None, BARE, {"status": {"conditions": None}}, {"status": None}])
def test_an_object_without_conditions_has_none(obj: Json | None) -> None:
    assert objects.find_condition(obj, "A") is None


@pytest.mark.parametrize("text", [None, 7, {}])
def test_what_is_no_time_is_none(text: object) -> None:
    assert objects.parse_time(text) is None


OURS = {names.MANAGED_BY: names.MANAGED_BY_VALUE, names.DEPLOYMENT: "wine"}
SELECTING = {"selector": {"matchLabels": {names.DEPLOYMENT: "wine"}}, "template": {}}


def owned_by(uid: str, **reference: Any) -> list[dict[str, Any]]:
    return [{"uid": uid, "kind": names.KIND, "controller": True, **reference}]


@pytest.mark.parametrize(
    ("owners", "labels", "spec", "is_child"),
    [
        pytest.param(owned_by("u"), {}, {}, True, id="owned, whatever its labels"),
        pytest.param([], OURS, {}, True, id="nobody's, with our labels"),
        pytest.param([], {names.DEPLOYMENT: "wine"}, {}, True, id="one label of ours"),
        pytest.param([], {}, SELECTING, True, id="a Deployment that selects our pods"),
        pytest.param(
            [], {names.DEPLOYMENT: "beer"}, SELECTING, True, id="its selector cannot be edited"
        ),
        pytest.param([], {names.DEPLOYMENT: "beer"}, {}, False, id="another resource's labels"),
        pytest.param([], {}, {}, False, id="nobody's, without labels"),
        pytest.param(owned_by("other"), OURS, SELECTING, False, id="another resource's"),
        pytest.param(owned_by("x", kind="App"), OURS, {}, False, id="another controller's"),
        pytest.param(
            owned_by("x", kind="App", controller=False), OURS, {}, True, id="an owner beside us"
        ),
    ],
)
def test_whose_child_an_object_is(
    owners: list[Any], labels: dict[str, str], spec: dict[str, Any], is_child: bool
) -> None:
    metadata = {"name": "wine-abc", "labels": labels, "ownerReferences": owners}
    assert is_child_of({"metadata": metadata, "spec": spec}, "wine", "u") is is_child


@pytest.mark.parametrize(
    ("labels", "hidden"), [(OURS, False), ({**OURS, names.MANAGED_BY: "helm"}, True), ({}, True)]
)
def test_an_edited_label_hides_an_object_from_our_watches(
    labels: dict[str, str], hidden: bool
) -> None:
    assert is_hidden({"metadata": {"name": "x", "labels": labels}}) is hidden
