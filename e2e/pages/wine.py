"""The resource `wine` that the pages speak of, and its versions in the registry."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import requests
import yaml

from dev import kube
from dev.cluster.settings import REPOSITORY
from dev.kube import wait_until
from dev.traffic import gateway_url

NAMESPACE, NAME = "models", "wine"
HOSTNAME = "wine.models.example.com"
# Where docs/install.md forwards the port of the tracking server to.
TRACKING_URI = "http://127.0.0.1:5000"
# The pages speak of an update from version 3 to version 4.
STABLE_VERSION, NEW_VERSION = "3", "4"
READY_SECONDS = 240
ROLLOUT_SECONDS = 120
REQUEST = REPOSITORY / "examples" / "wine-request.json"
JSON = {"Content-Type": "application/json", "Host": HOSTNAME}


def move_alias(version: str, alias: str = "champion") -> None:
    """Points an alias to a version."""
    from mlflow import MlflowClient  # slow to import, and the unit tests read PAGES

    MlflowClient(tracking_uri=TRACKING_URI).set_registered_model_alias(NAME, alias, version)


def register_newer_versions() -> None:
    """Registers the models of versions 1 and 2 again, as 3 (the champion) and 4."""
    from mlflow import MlflowClient

    registry = MlflowClient(tracking_uri=TRACKING_URI)
    for old, alias in (("1", "champion"), ("2", "challenger")):
        model = registry.get_model_version(NAME, old)
        logged = model.source.removeprefix("models:/")
        new = registry.create_model_version(NAME, model.source, model_id=logged)
        registry.set_registered_model_alias(NAME, alias, new.version)


def register_two_columns() -> str:
    """Registers a version with two columns only; returns its number."""
    import mlflow
    from mlflow.models import infer_signature
    from sklearn.datasets import load_wine
    from sklearn.neighbors import NearestCentroid

    bottles = load_wine(as_frame=True)
    table = bottles.data[["alcohol", "ash"]]
    model = NearestCentroid().fit(table, bottles.target)
    mlflow.set_tracking_uri(TRACKING_URI)
    logged = mlflow.sklearn.log_model(
        model,
        name="model",
        signature=infer_signature(table, model.predict(table)),
        pip_requirements=mlflow.sklearn.get_default_pip_requirements(include_skops=True),
    )
    return str(mlflow.register_model(logged.model_uri, NAME).version)


def serve(example: str, **spec: Any) -> None:
    """Replaces the resource by an example, with fields of `spec` replaced, until it is available.

    The champion is the version before the newest, as on the pages.
    """
    move_alias(STABLE_VERSION)
    manifest = yaml.safe_load((REPOSITORY / "examples" / example).read_text(encoding="utf-8"))
    manifest["spec"].update(spec)
    manifest["metadata"]["namespace"] = NAMESPACE
    text = yaml.safe_dump(manifest)
    there = kube.get(kube.RESOURCE, NAME, NAMESPACE) is not None
    kube.kubectl("replace" if there else "create", "--filename=-", stdin=text)
    expected = None if "@" not in manifest["spec"]["model"]["uri"] else STABLE_VERSION
    wait_for("the example is served", lambda status: _is_served(status, expected))


def wait_for_phase(phase: str) -> None:
    """Waits until the rollout has come to a phase."""
    wait_for(f"the phase is {phase}", lambda status: _phase(status) == phase, ROLLOUT_SECONDS)


def wait_for_version(version: str) -> None:
    """Waits until a version is stable, and nothing else is going on."""

    def is_stable(status: dict[str, Any]) -> bool:
        return _phase(status) == "Stable" and _stable(status) == version

    wait_for(f"version {version} is stable", is_stable, ROLLOUT_SECONDS)


def wait_for(
    what: str, holds: Callable[[dict[str, Any]], bool], seconds: float = READY_SECONDS
) -> None:
    """Waits until something holds for the status that describes the present spec."""
    wait_until(
        what, lambda: holds(_status()), seconds=seconds, explain=lambda: kube.story(NAMESPACE)
    )


def wait_until_the_gateway_answers(header: str = "x-tester") -> None:
    """A gateway follows its route a moment after it has accepted it, and each of its rules."""

    def answers() -> bool:
        return all(_is_good("POST", url, {**JSON, **headers}) for headers in ({}, {header: "true"}))

    url = f"{gateway_url()}/invocations"
    wait_until("the gateway answers", answers, seconds=60)


def wait_until_it_answers(url: str) -> None:
    """Waits for any good answer."""
    wait_until(f"{url} answers", lambda: _is_good("GET", url, {}), seconds=60)


def _is_good(method: str, url: str, headers: dict[str, str]) -> bool:
    body = REQUEST.read_bytes() if method == "POST" else None
    try:
        return requests.request(method, url, data=body, headers=headers, timeout=5).ok
    except requests.RequestException:
        return False


def _status() -> dict[str, Any]:
    resource = kube.get(kube.RESOURCE, NAME, NAMESPACE) or {}
    status: dict[str, Any] = resource.get("status", {})
    fresh = status.get("observedGeneration") == resource.get("metadata", {}).get("generation")
    return status if fresh else {}


def _is_served(status: dict[str, Any], version: str | None) -> bool:
    available = kube.conditions({"status": status}).get("Available", {})
    return (
        available.get("status") == "True"
        and _phase(status) == "Stable"
        and version in (None, _stable(status))
    )


def _phase(status: dict[str, Any]) -> str:
    return str(status.get("rollout", {}).get("phase", ""))


def _stable(status: dict[str, Any]) -> str:
    return str(status.get("stable", {}).get("modelVersion", ""))
