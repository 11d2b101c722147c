"""The operator may be stopped and started at any time: it goes on, and writes nothing needless."""

from __future__ import annotations

from mlflow_model_operator.settings import Settings
from tests.integration.operator.conftest import OperatorThread, World

KINDS = ("mmd", "deployments", "services", "horizontalpodautoscalers", "poddisruptionbudgets")


def test_a_restart_with_nothing_to_do_writes_nothing(
    quiet_world: World, operator_settings: Settings
) -> None:
    world, kubeconfig = quiet_world, str(quiet_world.api.kubeconfig)
    with OperatorThread(operator_settings, kubeconfig):
        world.given_wine_is_served(
            {
                "model": {"uri": f"models:/{world.model}@champion"},
                "scaling": {"minReplicas": 2, "maxReplicas": 4},
                "server": {"resources": {"requests": {"cpu": "1000m", "memory": "1024Mi"}}},
                "pod": {"tolerations": [{"operator": "Exists"}]},
            }
        )
    before = _versions(world)

    with OperatorThread(operator_settings, kubeconfig) as thread:
        world.until("the first reconcile", lambda: _reconciles(thread) >= 1)
        world.until("an empty queue", lambda: not len(thread.operator.queue))

    assert _versions(world) == before
    assert _writes(thread) == 0


def test_an_update_that_began_before_a_restart_is_finished_after_it(
    quiet_world: World, operator_settings: Settings
) -> None:
    world, kubeconfig = quiet_world, str(quiet_world.api.kubeconfig)
    with OperatorThread(operator_settings, kubeconfig):
        old = world.given_wine_is_served()
        world.mlflow.point(world.model, "champion", "2")
        new = world.until_revision_of("2")

    world.set_ready(new)
    with OperatorThread(operator_settings, kubeconfig):
        world.until("the old gone", lambda: set(world.children("deployments")) == {new})
        world.until_condition("Ready", "True", "Ready")
    assert old != new


def test_what_was_deleted_while_the_operator_was_away_comes_back(
    quiet_world: World, operator_settings: Settings
) -> None:
    world, kubeconfig = quiet_world, str(quiet_world.api.kubeconfig)
    with OperatorThread(operator_settings, kubeconfig):
        revision = world.given_wine_is_served()
    world.delete("services", revision)
    with OperatorThread(operator_settings, kubeconfig):
        world.until("the Service", lambda: revision in world.children("services"))


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
