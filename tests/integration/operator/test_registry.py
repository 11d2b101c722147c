"""The registry, both ways: webhooks that MLflow sends, and what the operator writes back."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import requests
from mlflow import MlflowClient
from mlflow.entities.webhook import WebhookAction, WebhookEntity, WebhookEvent

from tests.integration.control_plane import _wait_until_healthy, free_port, process
from tests.integration.operator.conftest import World

SECRET = "a secret that MLflow and the operator share"
MOVED = WebhookEvent(WebhookEntity.MODEL_VERSION_ALIAS, WebhookAction.CREATED)
WRITES = {"registry": {"writeBack": True}, "onSuccess": {"setAlias": "live"}}


def spec(world: World, **rollout: Any) -> dict[str, Any]:
    return {"model": {"uri": f"models:/{world.model}@champion"}, "rollout": rollout}


def release(world: World, version: str) -> None:
    """The alias moves, the pods get ready, and the version serves."""
    world.mlflow.point(world.model, "champion", version)
    world.set_ready(world.until_revision_of(version))
    serves = lambda: world.status()["stable"]["modelVersion"] == version  # noqa: E731
    world.until(f"version {version} serves", serves)


def verdict(world: World, version: str) -> str | None:
    """What the tag of this resource says on a version."""
    tags = world.mlflow.tags(world.model, version)
    tag = tags.get(f"mlflow-model-operator.dev/{world.namespace}/wine")
    return str(json.loads(tag)["verdict"]) if tag else None


def test_verdicts_become_tags_and_the_promoted_version_gets_the_alias(world: World) -> None:
    world.given_wine_is_served(spec(world, **WRITES))
    world.until("a tag on version 1", lambda: verdict(world, "1") == "Promoted")
    assert world.mlflow.alias(world.model, "live") is None, "the first takes over from none"

    release(world, "2")

    world.until("a tag on version 2", lambda: verdict(world, "2") == "Promoted")
    world.until("version 1 is replaced", lambda: verdict(world, "1") == "Replaced")
    world.until("the alias", lambda: world.mlflow.alias(world.model, "live") == "2")
    world.until_condition("RegistryUpdated", "True", "RegistryWritten")
    world.until("the record", lambda: world.status()["registry"]["alias"]["isSet"])

    # A person moves it, and keeps it: also when the operator looks again.
    world.mlflow.point(world.model, "live", "1")
    world.apply(spec(world, **WRITES, keepOld="1s"))
    generation = world.get()["metadata"]["generation"]
    world.until("a look", lambda: world.status()["observedGeneration"] == generation)
    assert world.mlflow.alias(world.model, "live") == "1"


def test_in_a_freeze_window_nothing_starts_until_a_person_says_so(world: World) -> None:
    always = {"cron": "* * * * *", "duration": "24h", "timeZone": "Europe/Berlin"}
    world.given_wine_is_served(spec(world, freeze=[always]))

    world.mlflow.point(world.model, "champion", "2")

    condition = world.until_condition("Progressing", "False", "Frozen")
    assert "waits until" in condition["message"]
    assert len(world.children("deployments")) == 1
    command = condition["message"].partition("To start it now: kubectl ")[2]
    arguments = command.replace('"', "").replace("$(date +%s)", "1").split()
    world.api.kubectl(*arguments)
    world.until_revision_of("2")


def test_a_time_zone_that_is_none_is_explained(world: World) -> None:
    freeze = [{"cron": "0 18 * * FRI", "duration": "62h", "timeZone": "Europe/Bern-Sued"}]
    world.apply(spec(world, freeze=freeze))

    condition = world.until_condition("Ready", "False", "InvalidSpec")
    assert (
        "spec.rollout.freeze[0].timeZone: 'Europe/Bern-Sued' is not a time zone"
        in (condition["message"])
    )


@pytest.fixture
def hinted_world(quiet_world: World, tmp_path: Path) -> Iterator[World]:
    """The operator as a process that polls once an hour, and MLflow's webhooks."""
    keys = tmp_path / "keys"
    keys.mkdir()
    (keys / "key").write_text(SECRET)
    port, http_port = free_port(), free_port()
    environment = {
        "KUBECONFIG": quiet_world.api.kubeconfig,
        "MLFLOW_TRACKING_URI": quiet_world.mlflow.url,
        "MMO_NAMESPACES": quiet_world.namespace,
        "MMO_SCORING_IMAGES": '{"3.11": "scoring:3.11"}',
        "MMO_POLL_INTERVAL": "3600",
        "MMO_HTTP_PORT": http_port,
        "MMO_WEBHOOK_PORT": port,
        "MMO_WEBHOOK_KEYS": keys,
    }
    variables = [f"{name}={value}" for name, value in environment.items()]
    command = ["env", *variables, sys.executable, "-m", "mlflow_model_operator.main"]
    client = MlflowClient(quiet_world.mlflow.url)
    url = f"http://127.0.0.1:{port}/webhooks/mlflow"
    webhook = client.create_webhook("operator", url, [MOVED], secret=SECRET)
    try:
        with process("operator", command, tmp_path) as running:
            ready = f"http://127.0.0.1:{http_port}/readyz"
            _wait_until_healthy(running, ready, requests.Session(), 60.0)
            yield quiet_world
    finally:
        client.delete_webhook(webhook.webhook_id)


def test_a_moved_alias_is_rolled_out_by_its_webhook(hinted_world: World) -> None:
    hinted_world.given_wine_is_served()

    hinted_world.mlflow.point(hinted_world.model, "champion", "2")

    hinted_world.until_revision_of("2")
