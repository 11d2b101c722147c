"""The cluster at hand, as the demo and the tests see it.

`kubectl` runs what a person would type. `get`, `apply` and so on talk to the API themselves, which
is much quicker: the tests look at objects thousands of times. Both follow KUBECONFIG.
"""

from __future__ import annotations

import functools
import json
import subprocess
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from typing import Any, TypeVar

from kubernetes import client, config
from kubernetes.dynamic import DynamicClient
from kubernetes.dynamic.exceptions import DynamicApiError, NotFoundError
from urllib3.exceptions import HTTPError

from mlflow_model_operator.kube import kinds
from mlflow_model_operator.kube.kinds import Kind
from mlflow_model_operator.kube.objects import KubeObject

Found = TypeVar("Found")

RESOURCE = kinds.RESOURCE
DEPLOYMENT = kinds.DEPLOYMENT
SERVICE = kinds.SERVICE
AUTOSCALER = kinds.AUTOSCALER
BUDGET = kinds.BUDGET
ROUTE = kinds.ROUTE
NETWORK_POLICY = kinds.NETWORK_POLICY
GATEWAY = kinds.GATEWAY
POD = kinds.POD
EVENT = Kind("Event", "", "v1", "events")
NODE = Kind("Node", "", "v1", "nodes")
NAMESPACE = Kind("Namespace", "", "v1", "namespaces")
CONFIG_MAP = Kind("ConfigMap", "", "v1", "configmaps")
SECRET = Kind("Secret", "", "v1", "secrets")
QUOTA = Kind("ResourceQuota", "", "v1", "resourcequotas")
RUNTIME_CLASS = Kind("RuntimeClass", "node.k8s.io", "v1", "runtimeclasses")
ENVOY_PROXY = Kind("EnvoyProxy", "gateway.envoyproxy.io", "v1alpha1", "envoyproxies")

_KINDS = {
    kind.kind: kind
    for kind in (
        *(RESOURCE, DEPLOYMENT, SERVICE, AUTOSCALER, BUDGET, ROUTE, GATEWAY, POD, EVENT, NODE),
        *(NAMESPACE, CONFIG_MAP, SECRET, QUOTA, RUNTIME_CLASS, ENVOY_PROXY, NETWORK_POLICY),
    )
}

FIELD_MANAGER = "dev"
PAUSE = 0.3  # seconds between two looks
REQUEST_SECONDS = 30
WATCH_SECONDS = 3600


class CommandError(Exception):
    """A program that ended with an error; the message is what it said."""


def kubectl(*arguments: str, stdin: str | None = None, timeout: float = 180) -> str:
    """Runs kubectl and returns what it printed. Raises CommandError with what it complained of."""
    return run("kubectl", *arguments, stdin=stdin, timeout=timeout)


def run(*command: str, stdin: str | None = None, timeout: float = 180) -> str:
    """Runs a program and returns what it printed. Raises CommandError if it fails."""
    try:
        result = subprocess.run(
            command, input=stdin, capture_output=True, text=True, timeout=timeout, check=False
        )
    except FileNotFoundError:
        raise CommandError(
            f"{command[0]} is not on PATH: `make cluster`, then `source .cluster/env`"
        ) from None
    except subprocess.TimeoutExpired:
        raise CommandError(f"`{' '.join(command)}` did not end within {timeout:g} s") from None
    if result.returncode != 0:
        said = result.stderr.strip() or result.stdout.strip()
        raise CommandError(f"`{' '.join(command)}` failed: {said}")
    return result.stdout


def get(kind: Kind, name: str, namespace: str = "") -> KubeObject | None:
    """One object, or None where there is none."""
    try:
        return _request("get", kind.path(namespace, name))
    except NotFoundError:
        return None


def get_all(kind: Kind, namespace: str = "", selector: str = "") -> list[KubeObject]:
    """All objects of a kind in a namespace; "" means all namespaces."""
    items: list[KubeObject] = _request("get", kind.path(namespace), label_selector=selector)[
        "items"
    ]
    return items


def apply(*objects: KubeObject) -> None:
    """States objects by server-side apply."""
    for obj in objects:
        metadata = obj["metadata"]
        _request(
            "patch",
            _KINDS[obj["kind"]].path(metadata.get("namespace", ""), metadata["name"]),
            body=obj,
            content_type="application/apply-patch+yaml",
            field_manager=FIELD_MANAGER,
            force_conflicts="true",
        )


def patch(
    kind: Kind, name: str, namespace: str, change: KubeObject, subresource: str = ""
) -> KubeObject:
    """Changes an object by a JSON merge patch; returns it as it is then."""
    path = kind.path(namespace, name) + (f"/{subresource}" if subresource else "")
    return _request("patch", path, body=change, content_type="application/merge-patch+json")


def delete(kind: Kind, name: str, namespace: str = "") -> None:
    """Deletes an object without waiting for its end; absent is fine."""
    try:
        _request("delete", kind.path(namespace, name), body={"propagationPolicy": "Background"})
    except NotFoundError:
        return


@contextmanager
def watch(kind: Kind, namespace: str, on_event: Callable[[KubeObject], None]) -> Iterator[None]:
    """Brings events to `on_event`, in a thread, until the block ends; at first what there is."""
    path, ended = kind.path(namespace), threading.Event()
    stream = _client().request(
        "get", path, serialize=False, watch=True, timeout_seconds=WATCH_SECONDS
    )

    def follow() -> None:
        try:
            for line in stream:
                on_event(json.loads(line))
        except HTTPError:
            if not ended.is_set():
                raise

    thread = threading.Thread(target=follow, daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        with suppress(RuntimeError):  # the API server has ended it before
            stream.shutdown()  # wakes the thread
        thread.join(REQUEST_SECONDS)


def restricted_namespace(name: str, labels: dict[str, str] | None = None) -> KubeObject:
    """A namespace that takes pods of the restricted Pod Security Standard only."""
    enforced = {"pod-security.kubernetes.io/enforce": "restricted"}
    return {
        "apiVersion": "v1",
        "kind": "Namespace",
        "metadata": {"name": name, "labels": {**enforced, **(labels or {})}},
    }


def wait_until(
    what: str,
    look: Callable[[], Found | None],
    *,
    seconds: float,
    explain: Callable[[], str] = lambda: "",
) -> Found:
    """Looks again and again until there is something (neither None nor False), and returns it.

    Raises AssertionError after `seconds`, saying `what` was awaited and what `explain` returns.
    """
    deadline = time.monotonic() + seconds
    while True:
        found = look()
        if found is not None and found is not False:
            return found
        if time.monotonic() > deadline:
            raise AssertionError(f"Not within {seconds:g} s: {what}\n{explain()}")
        time.sleep(PAUSE)


def story(namespace: str) -> str:
    """What a namespace looks like now, for the message of a failure."""
    parts = [
        *_headed("Resources", map(_resource_story, get_all(RESOURCE, namespace))),
        *_headed("Pods", map(_pod_story, get_all(POD, namespace))),
        *_headed("Events", _event_stories(namespace)),
    ]
    return "\n".join(parts)


def conditions(obj: KubeObject) -> dict[str, KubeObject]:
    """The conditions of an object by type."""
    return {one["type"]: one for one in obj.get("status", {}).get("conditions", [])}


def _headed(title: str, lines: Iterable[str]) -> list[str]:
    found = [line for line in lines if line]
    return [f"{title}:", *found] if found else [f"{title}: none"]


def _resource_story(resource: KubeObject) -> str:
    status = resource.get("status", {})
    lines = [f"  {resource['metadata']['name']} (generation {resource['metadata']['generation']})"]
    lines += [
        f"    {one['type']}={one['status']} {one['reason']}: {one['message']}"
        for one in conditions(resource).values()
    ]
    lines.append(f"    traffic {json.dumps(status.get('traffic'))}")
    lines.append(f"    rollout {json.dumps(status.get('rollout'))}")
    return "\n".join(lines)


def _pod_story(pod: KubeObject) -> str:
    status = pod.get("status", {})
    ending = " (ending)" if "deletionTimestamp" in pod["metadata"] else ""
    containers = [*status.get("initContainerStatuses", []), *status.get("containerStatuses", [])]
    lines = [f"  {pod['metadata']['name']} {status.get('phase')}{ending}"]
    for one in containers:
        state = json.dumps(one.get("state", {}))
        last = f", before {json.dumps(one['lastState'])}" if one.get("lastState") else ""
        lines.append(f"    {one['name']}: ready {one.get('ready')}, {state}{last}")
    return "\n".join(lines)


def _event_stories(namespace: str) -> list[str]:
    def time_of(event: KubeObject) -> str:
        return str(event.get("lastTimestamp") or event.get("eventTime") or "")

    events = sorted(get_all(EVENT, namespace), key=time_of)
    return [
        f"  {time_of(event)} {event['involvedObject'].get('kind')}/"
        f"{event['involvedObject'].get('name')} {event.get('reason')}: {event.get('message')}"
        for event in events[-15:]
    ]


@functools.cache
def _client() -> DynamicClient:
    config.load_kube_config()
    return DynamicClient(client.ApiClient())


def _request(method: str, path: str, **arguments: Any) -> KubeObject:
    answer = _client().request(
        method, path, serialize=False, _request_timeout=REQUEST_SECONDS, **arguments
    )
    found: KubeObject = json.loads(answer.data)
    return found


__all__ = ["DynamicApiError", "Kind", "KubeObject"]
