"""The operator's metrics, and that docs/metrics.md lists all of them."""

from __future__ import annotations

import re
import time
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

from mlflow_model_operator.metrics import PREFIX, Metrics, without_secrets

DOCUMENT = Path(__file__).parents[3] / "docs" / "metrics.md"
ROW = re.compile(r"^\| `(mlflow_model_operator_\w+)` \| (\w+) \|([^|]*)\|", re.MULTILINE)
SERVER = "http://mlflow:5000"


@pytest.fixture
def metrics() -> Metrics:
    return Metrics()


def use_all(metrics: Metrics) -> None:
    metrics.leading(True)
    metrics.resources(ready=3, other=1, stuck=2)
    metrics.reconciled("success", 0.2)
    metrics.queue_depth(2)
    metrics.queue_waited(0.1)
    metrics.api_request("patch", "Deployment", 200)
    metrics.registry_polled(SERVER, "success", 0.3)
    metrics.webhook_delivered("accepted")


def value(metrics: Metrics, name: str, **labels: str) -> float | None:
    return metrics.registry.get_sample_value(f"{PREFIX}_{name}", labels)


def test_what_is_recorded_is_exposed(metrics: Metrics) -> None:
    use_all(metrics)

    assert value(metrics, "leader") == 1
    assert value(metrics, "resources", ready="true") == 3
    assert value(metrics, "resources", ready="false") == 1
    assert value(metrics, "stuck") == 2
    assert value(metrics, "reconciles_total", result="success") == 1
    assert value(metrics, "reconcile_duration_seconds_sum") == 0.2
    assert value(metrics, "queue_depth") == 2
    assert value(metrics, "queue_latency_seconds_count") == 1
    labels = {"verb": "patch", "kind": "Deployment", "code": "200"}
    assert value(metrics, "api_requests_total", **labels) == 1
    assert value(metrics, "registry_polls_total", server=SERVER, result="success") == 1
    assert value(metrics, "webhook_deliveries_total", result="accepted") == 1


def test_the_age_of_the_last_success_can_be_computed(metrics: Metrics) -> None:
    before = time.time()
    use_all(metrics)

    for name, labels in (("reconcile", {}), ("registry", {"server": SERVER})):
        last = value(metrics, f"{name}_last_success_timestamp_seconds", **labels)
        assert last is not None and last >= before, name


def test_a_failed_poll_leaves_the_last_success_as_it_was(metrics: Metrics) -> None:
    metrics.registry_polled(SERVER, "RegistryUnreachable", 10)

    last = value(metrics, "registry_last_success_timestamp_seconds", server=SERVER)
    assert last is None
    assert value(metrics, "errors_total", kind="registry") == 1


@pytest.mark.parametrize(
    ("code", "errors"), [(0, 1), (200, 0), (201, 0), (403, 1), (404, 0), (409, 1), (503, 1)]
)
def test_refused_and_unanswered_requests_are_errors(
    metrics: Metrics, code: int, errors: int
) -> None:
    metrics.api_request("get", "Service", code)

    assert value(metrics, "errors_total", kind="api") == errors


def test_a_reconcile_to_be_tried_again_is_no_error(metrics: Metrics) -> None:
    metrics.reconciled("retry", 0.1)
    assert value(metrics, "errors_total", kind="reconcile") == 0
    metrics.reconciled("error", 0.1)
    assert value(metrics, "errors_total", kind="reconcile") == 1


def test_counters_start_at_zero_and_not_at_their_first_event(metrics: Metrics) -> None:
    assert value(metrics, "reconciles_total", result="error") == 0
    assert value(metrics, "errors_total", kind="api") == 0


def test_two_operators_in_a_process_do_not_share_numbers(metrics: Metrics) -> None:
    use_all(metrics)

    assert value(Metrics(), "queue_depth") == 0


@pytest.mark.parametrize(
    ("server", "shown"),
    [
        ("http://mlflow:5000", "http://mlflow:5000"),
        ("https://user:secret@mlflow.example.com/a?token=secret#b", "https://mlflow.example.com/a"),
        ("http://a@secret@mlflow", "http://mlflow"),
        ("http://[secret", "invalid"),
        ("databricks", "databricks"),
    ],
)
def test_no_secret_of_a_tracking_uri_is_shown(server: str, shown: str) -> None:
    assert without_secrets(server) == shown


def test_the_document_lists_all_metrics(metrics: Metrics) -> None:
    use_all(metrics)
    documented = {
        (name.removesuffix("_total"), kind): set(re.findall(r"`(\w+)`", labels))
        for name, kind, labels in ROW.findall(DOCUMENT.read_text(encoding="utf-8"))
    }

    families = text_string_to_metric_families(metrics.exposition().decode())
    served = {
        (family.name, family.type): {
            label for sample in family.samples for label in sample.labels if label != "le"
        }
        for family in families
        if family.name.startswith(PREFIX)
    }
    assert documented == served
