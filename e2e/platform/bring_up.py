"""Everything that the tests need, side by side where one does not need the other."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

from dev import installation, kube
from dev.cluster.progress import step
from dev.cluster.settings import read_settings
from dev.demo import story
from dev.mlflow import server
from e2e import models
from e2e.models import Facts
from e2e.platform.gpus import bring_up_gpus
from e2e.platform.packages import bring_up_packages
from e2e.platform.storages import bring_up_storages

# On every namespace of a test.
TEST_LABEL = "mlflow-model-operator.e2e/test"
POLL_SECONDS = 2


def bring_up() -> Facts:
    """MLflow with the models, the operator, and the servers that some tests need."""
    # On somebody's own cluster nothing outside our own namespaces is touched, and no image loaded.
    ours = not read_settings().use_current_cluster
    with (
        step("MLflow, models, the operator and test servers", expected=60),
        ThreadPoolExecutor() as pool,
    ):
        facts = pool.submit(_models)
        others = [
            pool.submit(_remove_namespaces),
            pool.submit(installation.install_operator, pollInterval=POLL_SECONDS),
        ]
        authority = pool.submit(bring_up_packages)
        if ours:
            others.append(pool.submit(_remove_demo))
            bring_up_gpus()
            others.append(pool.submit(bring_up_storages))
        for other in others:
            other.result()
    return Facts(**{**vars(facts.result()), "authority": authority.result(), "own_cluster": ours})


def _remove_namespaces() -> None:
    """Those that an interrupted run has left."""
    for namespace in kube.get_all(kube.NAMESPACE, selector=TEST_LABEL):
        kube.delete(kube.NAMESPACE, namespace["metadata"]["name"])


def _remove_demo() -> None:
    """What `make demo` serves has the host name of the examples, which are applied as they are."""
    kube.delete(kube.NAMESPACE, story.NAMESPACE)
    kube.wait_until(
        "the demo's namespace is gone",
        lambda: kube.get(kube.NAMESPACE, story.NAMESPACE) is None,
        seconds=120,
    )


def _models() -> Facts:
    server.deploy()
    # Imports take seconds, in which the server starts.
    from dev.demo import wine

    trained = wine.train()
    server.wait_until_it_answers()
    wine.register(trained, server.mlflow_url())
    return Facts(
        logged=models.log_all(server.mlflow_url()),
        wine_columns=trained.bottles.columns,
        wine_rows=trained.bottles.rows,
        wine_predictions={one.version: one.predictions for one in trained.versions},
    )
