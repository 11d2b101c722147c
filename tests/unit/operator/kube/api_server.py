"""An API server of one resource and one Deployment, and what its watches would bring, in memory."""

from __future__ import annotations

import copy
from collections import deque
from collections.abc import Callable
from typing import Any

from mlflow_model_operator.api import names
from mlflow_model_operator.api.resource import Key

Json = dict[str, Any]
Message = tuple[str | None, Json]  # an event's type and object; None: of a list
KEY = Key("models", "wine")
LABELS = {names.MANAGED_BY: names.MANAGED_BY_VALUE, names.DEPLOYMENT: KEY.name}


class ApiServer:
    """Both objects as they are, and the messages that are on their way to the operator."""

    def __init__(self) -> None:
        self.version = 100
        self._uids = 0
        self.resource: Json | None = None
        self.deployment: Json | None = None
        # kopf orders the events of one object only, so each uid has a channel of its own.
        self.resource_events: dict[str, deque[Message]] = {}
        # What our reflector is about to read: events, or a list with its resource version.
        self.deployment_messages: deque[Message | tuple[list[Json], int]] = deque()

    def create_resource(self) -> None:
        """As a user does; it may have existed before."""
        self.resource = {
            "metadata": self._metadata(KEY.name) | {"generation": 1},
            "spec": {"image": 1},
            "status": {},
        }
        self._emit_resource("ADDED")

    def change_resource(self, change: Callable[[Json], None]) -> Json | None:
        """Commits a write; a changed spec is another generation. Returns the resource then."""
        if self.resource is None:
            return None
        before, spec = copy.deepcopy(self.resource), copy.deepcopy(self.resource["spec"])
        change(self.resource)
        if self.resource == before:
            return before  # a write of nothing is no new version
        if self.resource["spec"] != spec:
            self.resource["metadata"]["generation"] += 1
        self._advance(self.resource)
        self._emit_resource("MODIFIED")
        return copy.deepcopy(self.resource)

    def delete_resource(self) -> None:
        """As a user does."""
        if self.resource is not None:
            self._advance(self.resource)
            self._emit_resource("DELETED")
            self.resource = None

    def collect_garbage(self) -> None:
        """The Deployment loses owners that are gone, and goes with the last of them."""
        if self.deployment is None:
            return
        owner = self.resource["metadata"]["uid"] if self.resource else None
        owners = self.deployment["metadata"]["ownerReferences"]
        if all(reference["uid"] != owner for reference in owners):
            self.delete_deployment()
            return
        present = [reference for reference in owners if reference["uid"] == owner]
        self.change_deployment(lambda obj: obj["metadata"].update(ownerReferences=present))

    def apply_deployment(self, labels: Json, image: int, owner: str) -> Json:
        """Server-side apply: creates it, or merges what is stated."""
        is_new = self.deployment is None
        if self.deployment is None:
            metadata = self._metadata("wine-abc") | {"generation": 1, "labels": {}}
            metadata["ownerReferences"] = []
            self.deployment = {"metadata": metadata, "spec": {"replicas": 1}, "status": {}}

        def state(deployment: Json) -> None:
            deployment["metadata"]["labels"] |= labels
            deployment["spec"]["image"] = image
            reference = {"kind": names.KIND, "name": KEY.name, "uid": owner}
            if reference not in deployment["metadata"]["ownerReferences"]:
                deployment["metadata"]["ownerReferences"].append(reference)

        self.change_deployment(state, is_new)
        return copy.deepcopy(self.deployment)

    def change_deployment(self, change: Callable[[Json], None], is_new: bool = False) -> None:
        """Commits a write; the watch sees it through its label selector."""
        if self.deployment is None:
            return
        before = copy.deepcopy(self.deployment)
        change(self.deployment)
        if self.deployment == before:
            return
        if self.deployment["spec"] != before["spec"] and not is_new:
            self.deployment["metadata"]["generation"] += 1
        self._advance(self.deployment)
        was_selected = is_selected(before) and not is_new
        if is_selected(self.deployment):
            event = "MODIFIED" if was_selected else "ADDED"
            self.deployment_messages.append((event, copy.deepcopy(self.deployment)))
        elif was_selected:
            self._emit_deletion(before)

    def delete_deployment(self) -> None:
        """As a user or the garbage collector does."""
        if self.deployment is not None:
            before = self.deployment
            self._advance(self.deployment)
            self.deployment = None
            if is_selected(before):
                self._emit_deletion(before)

    def list_deployments(self) -> None:
        """The watch is cut off: what it had to bring is lost, and a list takes its place."""
        items = [self.deployment] if self.deployment and is_selected(self.deployment) else []
        self.deployment_messages.clear()
        self.deployment_messages.append((copy.deepcopy(items), self.version))

    def list_resources(self) -> None:
        """kopf lists again: it learns what there is, and not what was deleted."""
        self.resource_events.clear()
        if self.resource is not None:
            self._emit_resource(None)

    def _emit_resource(self, event: str | None) -> None:
        assert self.resource is not None
        events = self.resource_events.setdefault(self.resource["metadata"]["uid"], deque())
        events.append((event, copy.deepcopy(self.resource)))

    def _emit_deletion(self, before: Json) -> None:
        """The object as it was, with the resource version of what removed it from the watch."""
        last = copy.deepcopy(before)
        last["metadata"]["resourceVersion"] = str(self.version)
        self.deployment_messages.append(("DELETED", last))

    def _metadata(self, name: str) -> Json:
        self._uids += 1
        self.version += 1
        version = str(self.version)
        return {
            "namespace": KEY.namespace,
            "name": name,
            "uid": f"uid-{self._uids}",
            "resourceVersion": version,
        }

    def _advance(self, obj: Json) -> None:
        self.version += 1
        obj["metadata"]["resourceVersion"] = str(self.version)


def is_selected(deployment: Json) -> bool:
    """Whether our watch's label selector lets it through."""
    labels: Json = deployment["metadata"]["labels"]
    return labels.get(names.MANAGED_BY) == names.MANAGED_BY_VALUE
