"""Reading the metrics of pods over real connections, whatever is at their end."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from itertools import repeat
from typing import Any, cast

import pytest

from mlflow_model_operator.analysis import Exposition, Measurement, Reading
from mlflow_model_operator.api import names
from mlflow_model_operator.api.spec import Analysis
from mlflow_model_operator.kube.client import ApiError, Cluster
from mlflow_model_operator.measurement import Reader
from tests.integration.operator.metrics_pods import (
    HttpServer,
    ModelPod,
    free_address,
    prometheus,
    served,
)
from tests.unit.operator.analysis.steps import KEY, STEP, measurement

Json = dict[str, Any]


class Pods:
    """What the API server lists."""

    def __init__(self, *pods: Json) -> None:
        self.pods = list(pods)

    async def list_pods(self, namespace: str, labels: Json) -> list[Json]:
        assert (namespace, labels) == (KEY.namespace, {names.DEPLOYMENT: KEY.name})
        return self.pods


class NoPods:
    async def list_pods(self, namespace: str, labels: Json) -> list[Json]:
        raise ApiError(403, "Forbidden", "you may not")


def pod(name: str, revision: str, address: str | None, ready: bool = True, **status: Any) -> Json:
    return {
        "metadata": {"name": name, "uid": f"uid-{name}", "labels": {names.REVISION: revision}},
        "status": {
            "phase": "Running",
            "podIP": address,
            "conditions": [{"type": "Ready", "status": str(ready)}],
            **status,
        },
    }


def read(listed: Any, wanted: Measurement | None = None) -> tuple[Reading, list[str]]:
    observed: list[str] = []

    async def once() -> Reading:
        reader = Reader(cast(Cluster, listed), observe=observed.append)
        try:
            return await reader.read(wanted or measurement())
        finally:
            await reader.close()

    return asyncio.run(once()), observed


@pytest.fixture
def model() -> Iterator[tuple[ModelPod, str]]:
    address = free_address()
    served_pod = ModelPod(STEP.target, address)
    yield served_pod, address
    served_pod.server.close()


def test_the_pods_of_both_revisions_are_read_and_no_others(model: tuple[ModelPod, str]) -> None:
    model[0].count(5, 1)
    address = free_address()
    other = free_address()
    with served(other, lambda _: (200, b"")) as stranger:
        old = ModelPod(STEP.stable, address)
        try:
            reading, observed = read(
                Pods(
                    pod("new", STEP.target, model[1]),
                    pod("old", STEP.stable, address),
                    pod("third", "wine-third", other),
                    pod("done", STEP.stable, other, phase="Succeeded"),
                    pod("starting", STEP.target, None),
                )
            )
        finally:
            old.server.close()
    assert stranger.requests == []
    assert [entry.revision for entry in reading.pods] == [STEP.target, STEP.stable]
    assert all(isinstance(entry.result, Exposition) for entry in reading.pods)
    assert observed == ["success", "success"]


def too_large() -> Iterator[bytes]:
    yield from repeat(b"# nothing\n" * 10_000, 60)


@pytest.mark.parametrize(
    ("answer", "why"),
    [
        (lambda _: (200, b"<html>"), "it has no metrics of the scoring server"),
        (lambda _: (404, b""), "its metrics port answers with status 404"),
        (lambda _: (302, b""), "its metrics port answers with status 302"),
        (lambda _: (200, too_large()), "its metrics have more than 4194304 bytes"),
        (lambda _: (200, b"x" * 100_000), "a line has more than 4096 bytes"),
    ],
)
def test_a_pod_that_serves_something_else_is_shown_as_unread(
    answer: Callable[[str], tuple[int, Any]], why: str
) -> None:
    address = free_address()
    with served(address, answer):
        reading, observed = read(Pods(pod("new-1", STEP.target, address)))
    assert [entry.result for entry in reading.pods] == [f"pod new-1: {why}"]
    assert observed == ["error"]


def test_a_pod_that_is_not_there_is_shown_as_unread_if_it_should_be() -> None:
    listed = [pod("new-1", STEP.target, free_address()), pod("new-2", STEP.target, "nonsense")]
    starting = pod("new-3", STEP.target, free_address(), ready=False)
    reading, _ = read(Pods(*listed, starting))
    assert [entry.result for entry in reading.pods] == [
        "pod new-1: its metrics port can't be reached"
    ]
    assert reading.listed == {"uid-new-1", "uid-new-3"}


def test_another_pod_that_has_its_address_by_now_is_not_counted(
    model: tuple[ModelPod, str],
) -> None:
    model[0].revision = "wine-other"
    reading, _ = read(Pods(pod("new-1", STEP.target, model[1])))
    assert [entry.result for entry in reading.pods] == [
        "pod new-1: its metrics are of another revision"
    ]


def test_pods_that_may_not_be_listed_are_a_problem() -> None:
    reading, _ = read(NoPods())
    assert reading.problem == "the pods can't be listed: 403 Forbidden"


def test_prometheus_is_asked_by_its_api() -> None:
    address = free_address()
    with served(address, prometheus(1.5), port=0) as server:
        query = {"name": "cost", "url": server.url, "query": 'cost{revision="$target"}', "max": 2}
        gone = {"name": "gone", "url": f"http://{free_address()}:9", "query": "x", "max": 2}
        analysis = Analysis.model_validate({"queries": [query, gone]})
        wanted = Measurement(KEY, "uid", STEP, 10, 1, analysis)
        reading, _ = read(Pods(), wanted)
        assert reading.queries == {
            "cost": 1.5,
            "gone": "Prometheus can't be asked: connection refused",
        }
        (request,) = server.requests
    assert request == "/api/v1/query?query=cost%7Brevision%3D%22new%22%7D&timeout=5s"


def test_the_servers_of_the_tests_end(model: tuple[ModelPod, str]) -> None:
    assert isinstance(model[0].server, HttpServer)
