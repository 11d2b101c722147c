"""What the releases need: an MLflow server that can send webhooks, the operator, and a model."""

from __future__ import annotations

import base64
import os
import re
import secrets
import subprocess
import uuid
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import yaml

from dev import installation, kube
from dev.demo import story
from dev.kube import wait_until
from dev.mlflow import server
from e2e import models
from e2e.releases.released import ReleasedModel, given_a_released_model
from e2e.steps.given import registry_client

WEBHOOKS_SECRET = "reaction-webhooks"
WEBHOOKS_URL = (
    f"http://{installation.RELEASE}-webhooks.{installation.NAMESPACE}.svc/webhooks/mlflow"
)
ACCEPTED = 202
FORWARDED = re.compile(r"Forwarding from 127\.0\.0\.1:([0-9]+)")
FORWARD_SECONDS = 30


@dataclass(frozen=True)
class Environment:
    """A model that is served, and how the operator hears of its alias."""

    model: ReleasedModel
    poll_interval: float  # seconds
    secret: str  # of webhooks

    def start_webhooks(self) -> None:
        """From now on, MLflow tells the operator of each alias that moves."""
        from mlflow.entities.webhook import WebhookAction, WebhookEntity, WebhookEvent

        moved = WebhookEvent(WebhookEntity.MODEL_VERSION_ALIAS, WebhookAction.CREATED)
        client = registry_client()
        webhook = client.create_webhook("reaction", WEBHOOKS_URL, [moved], secret=self.secret)
        response = client.test_webhook(webhook.webhook_id)
        assert response.response_status == ACCEPTED, response


@contextmanager
def environment(labels: Collection[str], folder: Path) -> Iterator[Environment]:
    """Until the block ends; the operator has the chart's default poll interval."""
    namespace, secret = f"reaction-{uuid.uuid4().hex[:4]}", secrets.token_hex(32)
    kube.apply(kube.restricted_namespace(namespace))
    try:
        with _operator(secret), _tracking_server(namespace, folder) as uri:
            facts = models.Facts(logged=models.log_all(server.mlflow_url(), labels))
            model = given_a_released_model(namespace, facts, uri)
            yield Environment(model, _default_poll_interval(), secret)
    finally:
        kube.delete(kube.NAMESPACE, namespace)


@contextmanager
def _operator(secret: str) -> Iterator[None]:
    """It receives webhooks; afterwards it is as `make demo` installs it."""
    kube.apply(kube.restricted_namespace(installation.NAMESPACE), _webhooks_secret(secret))
    try:
        installation.install_operator(webhooks={"enabled": True, "secret": WEBHOOKS_SECRET})
        yield
    finally:
        installation.install_operator(pollInterval=story.POLL_SECONDS)
        kube.delete(kube.SECRET, WEBHOOKS_SECRET, installation.NAMESPACE)


def _webhooks_secret(secret: str) -> kube.KubeObject:
    return {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {"name": WEBHOOKS_SECRET, "namespace": installation.NAMESPACE},
        "stringData": {"key": secret},
    }


@contextmanager
def _tracking_server(namespace: str, folder: Path) -> Iterator[str]:
    """Its URI in the cluster; MLFLOW_URL becomes that on this machine."""
    kube.apply(*_manifests(namespace))
    server.wait_until_ready(namespace)
    with _forwarded(namespace, folder / "port-forward.log") as url:
        os.environ["MLFLOW_URL"] = url
        yield f"http://mlflow.{namespace}.svc:5000"


def _manifests(namespace: str) -> list[kube.KubeObject]:
    """The demo's server in another namespace, with what webhooks need (docs/how-to/registry.md)."""
    key = base64.urlsafe_b64encode(secrets.token_bytes(32)).decode()
    variables = {
        "MLFLOW_WEBHOOK_SECRET_ENCRYPTION_KEY": key,
        "MLFLOW_WEBHOOK_ALLOWED_SCHEMES": "https,http",
        "MLFLOW_WEBHOOK_ALLOW_PRIVATE_IPS": "true",
        "MLFLOW_WEBHOOK_CACHE_TTL": "0",  # a new webhook is in use at once
    }
    parts = {obj["kind"]: obj for obj in yaml.safe_load_all(server.MANIFEST.read_text())}
    deployment, service = parts["Deployment"], parts["Service"]
    (container,) = deployment["spec"]["template"]["spec"]["containers"]
    container["env"] += [{"name": name, "value": value} for name, value in variables.items()]
    port = {"name": "http", "port": 5000, "targetPort": "http"}
    service["spec"] = {"selector": service["spec"]["selector"], "ports": [port]}
    for obj in (deployment, service):
        obj["metadata"]["namespace"] = namespace
    return [deployment, service]


@contextmanager
def _forwarded(namespace: str, log: Path) -> Iterator[str]:
    command = ["kubectl", "port-forward", "service/mlflow", ":5000", f"--namespace={namespace}"]
    with log.open("w") as output, subprocess.Popen(command, stdout=output) as process:
        try:
            port = wait_until(
                "kubectl forwards a port to MLflow",
                lambda: FORWARDED.search(log.read_text()),
                seconds=FORWARD_SECONDS,
            )
            yield f"http://127.0.0.1:{port[1]}"
        finally:
            process.terminate()


def _default_poll_interval() -> float:
    values = yaml.safe_load((installation.CHART / "values.yaml").read_text())
    return float(values["pollInterval"])
