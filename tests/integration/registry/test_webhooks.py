"""MLflow's own webhooks: an alias that moves is polled when MLflow says so, not at the interval."""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from mlflow import MlflowClient
from mlflow.entities.webhook import WebhookAction, WebhookEntity, WebhookEvent

from mlflow_model_operator import webhooks
from mlflow_model_operator.settings import WebhookSettings
from tests.integration.registry.conftest import KEY, Follow, Following
from tests.integration.tracking_server import TrackingServer

HOUR = 3600.0
SECRET = "a secret that MLflow and the operator share"
EVENTS = [
    WebhookEvent(WebhookEntity.MODEL_VERSION_ALIAS, WebhookAction.CREATED),
    WebhookEvent(WebhookEntity.MODEL_VERSION_ALIAS, WebhookAction.DELETED),
    WebhookEvent(WebhookEntity.MODEL_VERSION_TAG, WebhookAction.SET),
    WebhookEvent(WebhookEntity.MODEL_VERSION, WebhookAction.CREATED),
]


@dataclass
class Deliveries:
    """Counts deliveries by result."""

    results: Counter[str] = field(default_factory=Counter)

    def webhook_delivered(self, result: str) -> None:
        self.results[result] += 1


@pytest.fixture
def deliveries() -> Deliveries:
    return Deliveries()


@pytest.fixture
async def hinted(
    follow: Follow, mlflow_server: TrackingServer, deliveries: Deliveries, tmp_path: Path
) -> AsyncIterator[Following]:
    """A registry that polls once an hour, and gets MLflow's webhooks."""
    following = follow(mlflow_server.url, interval=HOUR)
    (tmp_path / "key").write_text(SECRET)
    receiver = webhooks.Receiver(
        WebhookSettings(0, tmp_path),
        hint=following.registry.hint,
        is_leading=lambda: True,
        leader_address=lambda: None,
        observer=deliveries,
    )
    client = MlflowClient(mlflow_server.url)
    async with AsyncExitStack() as stack:
        port = await stack.enter_async_context(webhooks.serve(receiver))
        url = f"http://127.0.0.1:{port}/webhooks/mlflow"
        webhook = client.create_webhook("operator", url, EVENTS, secret=SECRET)
        stack.callback(client.delete_webhook, webhook.webhook_id)
        yield following


async def test_an_alias_that_moves_is_acted_on_by_its_webhook(
    hinted: Following,
    mlflow_server: TrackingServer,
    new_model: Callable[[], str],
    deliveries: Deliveries,
) -> None:
    name = new_model()
    uri = f"models:/{name}@champion"
    assert (await hinted.resolve(uri)).version == "1"

    mlflow_server.point(name, "champion", "2")

    await hinted.until_notified(KEY)
    assert (await hinted.resolve(uri)).version == "2"
    assert deliveries.results["accepted"] >= 1
    assert deliveries.results["refused"] == 0


async def test_an_alias_that_is_deleted_and_a_tag_that_is_set(
    hinted: Following, mlflow_server: TrackingServer, new_model: Callable[[], str]
) -> None:
    name = new_model()
    uri = f"models:/{name}@champion"
    await hinted.resolve(uri)

    mlflow_server.tag(name, "1", "validation_status", "approved")
    await hinted.until_notified(KEY)
    assert ("validation_status", "approved") in (await hinted.resolve(uri)).tags

    mlflow_server.drop_alias(name, "champion")
    await hinted.until_notified(KEY)
    await hinted.failure(uri)


async def test_a_webhook_with_another_secret_is_refused(
    hinted: Following,
    mlflow_server: TrackingServer,
    new_model: Callable[[], str],
    deliveries: Deliveries,
    tmp_path: Path,
) -> None:
    name = new_model()
    await hinted.resolve(f"models:/{name}@champion")
    (tmp_path / "key").write_text("another secret than the one of MLflow")

    mlflow_server.point(name, "champion", "2")

    await hinted.until("a refusal", lambda: deliveries.results["refused"] > 0)
    assert hinted.notified[KEY] == 0
