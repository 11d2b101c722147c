"""The operator may be stopped and started at any time: it goes on, and writes nothing needless."""

from __future__ import annotations

from dataclasses import replace

import pytest

from mlflow_model_operator.settings import Settings
from tests.integration.operator.conftest import OperatorThread, World

KINDS = ("mmd", "deployments", "services", "horizontalpodautoscalers", "poddisruptionbudgets")


@pytest.fixture
def settings(operator_settings: Settings, quiet_world: World) -> Settings:
    """For an operator that sees this test's namespace only: what others left is not its work."""
    return replace(operator_settings, namespaces=(quiet_world.namespace,))


def test_a_restart_with_nothing_to_do_writes_nothing(
    quiet_world: World, settings: Settings
) -> None:
    world, kubeconfig = quiet_world, str(quiet_world.api.kubeconfig)
    with OperatorThread(settings, kubeconfig) as thread:
        revision = world.given_wine_is_served(
            {
                "model": {"uri": f"models:/{world.model}@champion"},
                "scaling": {
                    "minReplicas": 2,
                    "maxReplicas": 4,
                    "metrics": [_pods_metric("requests", "1000m"), _pods_metric("rows", "2e3")],
                },
                "server": {"resources": {"requests": {"cpu": "1000m", "memory": "1024Mi"}}},
                "pod": {
                    "tolerations": [{"operator": "Exists"}],
                    "volumes": [{"name": "data", "emptyDir": {"sizeLimit": "1024Mi"}}],
                    "volumeMounts": [{"name": "data", "mountPath": "/data"}],
                },
            }
        )
        world.until("an idle queue", lambda: thread.operator.queue.is_idle)
    # What others add is none of our business.
    world.api.kubectl(
        "set", "env", f"deployment/{revision}", "-n", world.namespace, "-c=server", "THEIRS=1"
    )
    before = _versions(world)

    with OperatorThread(settings, kubeconfig) as thread:
        world.until("the first reconcile", lambda: _reconciles(thread) >= 1)
        world.until("an idle queue", lambda: thread.operator.queue.is_idle)

    assert _versions(world) == before
    assert _writes(thread) == 0


def test_an_update_that_began_before_a_restart_is_finished_after_it(
    quiet_world: World, settings: Settings
) -> None:
    world, kubeconfig = quiet_world, str(quiet_world.api.kubeconfig)
    with OperatorThread(settings, kubeconfig):
        old = world.given_wine_is_served()
        world.mlflow.point(world.model, "champion", "2")
        new = world.until_revision_of("2")

    world.set_ready(new)
    with OperatorThread(settings, kubeconfig):
        world.until("the old gone", lambda: set(world.children("deployments")) == {new})
        world.until_condition("Ready", "True", "Ready")
    assert old != new


def test_a_version_that_gets_ready_outlives_a_restart_without_a_registry(
    quiet_world: World, settings: Settings
) -> None:
    world, kubeconfig = quiet_world, str(quiet_world.api.kubeconfig)
    with OperatorThread(settings, kubeconfig):
        old = world.given_wine_is_served()
        world.mlflow.point(world.model, "champion", "2")
        new = world.until_revision_of("2")
        world.until("the target in the status", lambda: "target" in world.status())
    assert world.status()["target"]["revision"] == new

    # Nothing listens on port 9: the registry is gone.
    with OperatorThread(replace(settings, tracking_uri="http://127.0.0.1:9"), kubeconfig):
        world.until_condition("ModelResolved", "False", "RegistryUnreachable")
        assert set(world.children("deployments")) == {old, new}
        world.set_ready(new)
        world.until("the old gone", lambda: set(world.children("deployments")) == {new})
        world.until("no target", lambda: "target" not in world.status())


def test_what_was_deleted_while_the_operator_was_away_comes_back(
    quiet_world: World, settings: Settings
) -> None:
    world, kubeconfig = quiet_world, str(quiet_world.api.kubeconfig)
    with OperatorThread(settings, kubeconfig):
        world.given_wine_is_served()
    world.delete("services", "wine")
    with OperatorThread(settings, kubeconfig):
        world.until("the Service", lambda: "wine" in world.children("services"))


def _pods_metric(name: str, value: str) -> dict[str, object]:
    target = {"type": "AverageValue", "averageValue": value}
    return {"type": "Pods", "pods": {"metric": {"name": name}, "target": target}}


def _versions(world: World) -> dict[tuple[str, str], str]:
    return {
        (kind, name): obj["metadata"]["resourceVersion"]
        for kind in KINDS
        for name, obj in world.children(kind).items()
    }


def _reconciles(thread: OperatorThread) -> float:
    registry = thread.operator.metrics.registry
    value = registry.get_sample_value(
        "mlflow_model_operator_reconciles_total", {"result": "success"}
    )
    return value or 0


def _writes(thread: OperatorThread) -> float:
    return sum(
        sample.value
        for metric in thread.operator.metrics.registry.collect()
        for sample in metric.samples
        if sample.name == "mlflow_model_operator_api_requests_total"
        and sample.labels["verb"] != "get"
    )
