"""What a user does: makes many resources, and changes one now and then."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import requests

from benchmarks.scale.plane import MODEL
from mlflow_model_operator.api.names import API_VERSION, DEPLOYMENT, KIND, PLURAL
from tests.integration.control_plane import ApiServer

THREADS = 16
NAMESPACE = "models"
RESOURCES = f"/apis/{API_VERSION}/namespaces/{NAMESPACE}/{PLURAL}"
DEPLOYMENTS = f"/apis/apps/v1/namespaces/{NAMESPACE}/deployments"
WATCH_SECONDS = 1800

Json = dict[str, Any]
_local = threading.local()


def resource(name: str) -> Json:
    """One of the resources: a Deployment with one to three replicas, by an autoscaler."""
    return {
        "apiVersion": API_VERSION,
        "kind": KIND,
        "metadata": {"name": name},
        "spec": {
            "model": {"uri": f"models:/{MODEL}@champion"},
            "scaling": {"minReplicas": 1, "maxReplicas": 3},
        },
    }


def names(count: int) -> list[str]:
    """The names of so many resources."""
    return [f"model-{number:04d}" for number in range(count)]


def create(api: ApiServer, count: int) -> None:
    """Makes so many resources, from several threads."""
    make_namespace(api)
    post_all(api, RESOURCES, map(resource, names(count)))


def make_namespace(api: ApiServer) -> None:
    """Makes the namespace for all of them."""
    api.request("POST", "/api/v1/namespaces", {"metadata": {"name": NAMESPACE}}).raise_for_status()


def post_all(api: ApiServer, path: str, objects: Iterable[Json]) -> None:
    """Posts the objects to a path, from several threads."""

    def post(obj: Json) -> None:
        _session(api).post(f"{api.url}{path}", json=obj, timeout=60).raise_for_status()

    with ThreadPoolExecutor(THREADS) as pool:
        list(pool.map(post, objects))


class ReadyWatch:
    """Sees when each resource becomes Ready."""

    def __init__(self, api: ApiServer) -> None:
        self.since: dict[str, float] = {}  # Unix time, by name
        self._not_ready: set[str] = set()
        self._api = api

    def wait(self, count: int, within: float) -> None:
        """Returns when so many are Ready; raises TimeoutError."""
        deadline = time.monotonic() + within
        while len(self.since) < count:
            if time.monotonic() > deadline:
                raise TimeoutError(f"{len(self.since)} of {count} are Ready after {within:g} s")
            time.sleep(0.05)

    def __call__(self, event: Json) -> None:
        """Takes note of one event."""
        obj = event["object"]
        name = obj["metadata"]["name"]
        conditions = obj.get("status", {}).get("conditions", ())
        if any(one["type"] == "Ready" and one["status"] == "True" for one in conditions):
            self.since.setdefault(name, time.time())


def change_latency(api: ApiServer, name: str, value: str) -> float:
    """Seconds from a change of one resource's pods to the Deployment of their revision."""
    appeared = threading.Event()
    at: list[float] = []

    def on_event(event: Json) -> None:
        template = event["object"]["spec"]["template"]["metadata"]
        if event["type"] == "ADDED" and template.get("annotations", {}).get("change") == value:
            at.append(time.perf_counter())
            appeared.set()

    selector = f"labelSelector={DEPLOYMENT}={name}"
    with watch(api, f"{DEPLOYMENTS}?{selector}", on_event):
        time.sleep(1.0)  # until the watch has brought what is there
        patch = {"spec": {"pod": {"annotations": {"change": value}}}}
        headers = {"Content-Type": "application/merge-patch+json"}
        url = f"{api.url}{RESOURCES}/{name}"
        connection = _session(api)
        connection.get(url, timeout=60)  # opens the connection
        begun = time.perf_counter()
        connection.patch(url, json.dumps(patch), headers=headers, timeout=60).raise_for_status()
        if not appeared.wait(60):
            raise TimeoutError(f"{name} was changed, and no Deployment came")
    return at[0] - begun


@contextmanager
def watch(api: ApiServer, path: str, on_event: Callable[[Json], None]) -> Iterator[None]:
    """Brings events to `on_event`, in a thread, until the end of the block."""
    response = _open_watch(api, path)
    stopped = threading.Event()

    def follow() -> None:
        nonlocal response
        try:
            while not stopped.is_set():
                for line in response.iter_lines(chunk_size=None):
                    on_event(json.loads(line))
                # The API server ends the watch of who is slow; the next brings all that there is.
                response = _open_watch(api, path)
        except (requests.RequestException, AttributeError, ValueError, OSError):
            if not stopped.is_set():
                raise

    thread = threading.Thread(target=follow, daemon=True)
    thread.start()
    try:
        yield
    finally:
        stopped.set()
        _hang_up(response)
        thread.join(5)


def _open_watch(api: ApiServer, path: str) -> requests.Response:
    joint = "&" if "?" in path else "?"
    url = f"{api.url}{path}{joint}watch=true&timeoutSeconds={WATCH_SECONDS}"
    response = _new_session(api).get(url, stream=True, timeout=(10, WATCH_SECONDS))
    response.raise_for_status()
    return response


def _hang_up(response: requests.Response) -> None:
    """Wakes the thread that waits for the next event: closing alone would wait for it."""
    import socket

    connection = getattr(response.raw, "_connection", None)
    sock = getattr(connection, "sock", None)
    if sock is not None:
        sock.shutdown(socket.SHUT_RDWR)


def _session(api: ApiServer) -> requests.Session:
    """A session of this thread's own with that API server."""
    if getattr(_local, "url", None) != api.url:
        _local.url, _local.session = api.url, _new_session(api)
    session: requests.Session = _local.session
    return session


def _new_session(api: ApiServer) -> requests.Session:
    made = requests.Session()
    made.trust_env = False
    made.headers.update(api.http.headers)
    made.verify = api.http.verify
    return made
