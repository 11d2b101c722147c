"""What is sent to the API server, and what is tried where it refuses."""

from __future__ import annotations

from typing import Any

import pytest

from mlflow_model_operator.api import names
from mlflow_model_operator.api.resource import Key
from mlflow_model_operator.apply import Applier
from mlflow_model_operator.kube import kinds
from mlflow_model_operator.kube.cache import Cache
from mlflow_model_operator.kube.client import ApiError
from mlflow_model_operator.kube.kinds import Kind
from mlflow_model_operator.plan import Change, Changes
from mlflow_model_operator.plan.changes import MISSING
from mlflow_model_operator.status import ApplyError, NameConflict

Json = dict[str, Any]
KEY = Key("models", "wine")
DUPLICATE = ApiError(422, "Invalid", 'spec.ports[1].name: Duplicate value: "http"')


class Api:
    """Records what it is sent; refuses what the test says."""

    def __init__(self, **refusals: ApiError) -> None:
        self.refusals = refusals  # by the method's name
        self.requests: list[tuple[str, str, Json]] = []

    async def apply(self, kind: Kind, obj: Json) -> Json:
        return self._answer("apply", kind, obj)

    async def merge(self, kind: Kind, obj: Json, patch: Json) -> Json:
        self._answer("merge", kind, patch)
        return self._stored(obj)

    async def delete(self, kind: Kind, obj: Json) -> None:
        self._answer("delete", kind, obj)

    def _answer(self, method: str, kind: Kind, obj: Json) -> Json:
        self.requests.append((method, kind.kind, obj))
        if method in self.refusals:
            raise self.refusals[method]
        return self._stored(obj) if method == "apply" else obj

    def _stored(self, obj: Json) -> Json:
        return {**obj, "metadata": {**obj["metadata"], "uid": "x", "resourceVersion": "1"}}

    @property
    def sent(self) -> list[tuple[str, str]]:
        return [(method, kind) for method, kind, _ in self.requests]


def obj(kind: str, name: str = "wine") -> Json:
    owner = {"kind": names.KIND, "name": "wine", "uid": "u", "controller": True}
    metadata = {"namespace": "models", "name": name, "labels": {names.DEPLOYMENT: "wine"}}
    return {
        "kind": kind,
        "metadata": {**metadata, "ownerReferences": [owner]},
        "spec": {"ports": [{"name": "http", "port": 80}]},
    }


def changes(*apply: Change, adopt: list[Change] | None = None, **rest: Any) -> Changes:
    return Changes(apply=list(apply), adopt=adopt or [], scale=None, prune=rest.get("prune", []))


async def applied(api: Api, given: Changes, **options: Any) -> list[Any]:
    applier = Applier(api, Cache())  # type: ignore[arg-type]
    return await applier.apply(KEY, given, options.get("foreign", frozenset()))


@pytest.mark.parametrize("kind", ["Service", "Deployment"])
async def test_where_an_edited_key_contradicts_ours_the_lists_are_replaced(kind: str) -> None:
    api = Api(apply=DUPLICATE)
    assert await applied(api, changes(Change(obj(kind), "spec.ports"))) == []
    assert api.sent == [("apply", kind), ("merge", kind)]
    assert api.requests[1][2] == {"spec": obj(kind)["spec"]}


async def test_a_spec_that_is_wrong_in_itself_is_refused_with_the_first_words() -> None:
    api = Api(apply=DUPLICATE, merge=ApiError(422, "Invalid", "another"))
    (failure,) = await applied(api, changes(Change(obj("Service"), "spec.ports")))
    assert failure == ApplyError("Service", "wine", 422, "Invalid", DUPLICATE.message)


@pytest.mark.parametrize(
    ("change", "error"),
    [
        (Change(obj("Service"), MISSING), DUPLICATE),
        (Change(obj("HTTPRoute"), "spec.rules"), DUPLICATE),
        (Change(obj("Service"), "spec.ports"), ApiError(403, "Forbidden", "a policy")),
    ],
)
async def test_nothing_else_is_replaced(change: Change, error: ApiError) -> None:
    api = Api(apply=error)
    (failure,) = await applied(api, changes(change))
    assert failure.status == error.status
    assert ("merge", change.desired["kind"]) not in api.sent


async def test_an_existing_service_is_changed_before_new_pods_come() -> None:
    api = Api()
    deployment, service = Change(obj("Deployment"), MISSING), Change(obj("Service"), "selector")
    await applied(api, changes(deployment, service))
    assert api.sent == [("apply", "Service"), ("apply", "Deployment")]


async def test_missing_services_come_alone_and_first() -> None:
    api = Api()
    deployment, service = Change(obj("Deployment"), MISSING), Change(obj("Service"), MISSING)
    await applied(api, changes(deployment, service))
    assert api.sent == [("apply", "Service")]


async def test_a_service_that_cannot_be_made_holds_up_nothing_else() -> None:
    api = Api()
    deployment, service = Change(obj("Deployment"), MISSING), Change(obj("Service"), MISSING)
    failures = await applied(
        api, changes(deployment, service), foreign=frozenset({("Service", "wine")})
    )
    assert failures == [NameConflict("Service", "wine")]
    assert api.sent == [("apply", "Deployment")]


async def test_labels_and_owner_are_given_back_without_a_word_of_the_spec() -> None:
    api = Api()
    assert await applied(api, changes(adopt=[Change(obj("Deployment"), "metadata.labels")])) == []
    ((_, _, patch),) = api.requests
    assert set(patch) == {"metadata"}
    assert set(patch["metadata"]) == {"labels", "ownerReferences"}


async def test_what_cannot_be_deleted_is_a_failure_like_any_other() -> None:
    api = Api(delete=ApiError(403, "Forbidden", "not deleted"))
    pruned = [obj("Deployment", "wine-a"), obj("Deployment", "wine-b")]
    failures = await applied(api, changes(prune=pruned))
    assert [failure.name for failure in failures] == ["wine-a", "wine-b"]


async def test_an_outage_ends_the_reconcile() -> None:
    api = Api(delete=ApiError(503, "Unavailable", "later"))
    with pytest.raises(ApiError):
        await applied(api, changes(prune=[obj("Deployment")]))


async def test_a_deleted_object_that_is_hidden_from_the_watches_is_gone_at_once() -> None:
    cache = Cache()
    hidden = {**obj("HTTPRoute"), "metadata": {**obj("HTTPRoute")["metadata"], "uid": "x"}}
    hidden["metadata"]["resourceVersion"] = "1"
    cache.store_read(kinds.ROUTE, hidden)
    assert cache.child(KEY, kinds.ROUTE, "wine") is not None
    applier = Applier(Api(), cache)  # type: ignore[arg-type]
    await applier.apply(KEY, changes(prune=[hidden]), frozenset())
    assert cache.child(KEY, kinds.ROUTE, "wine") is None
