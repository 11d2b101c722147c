"""Metrics over several processes, and that docs/scoring-metrics.md tells of all of them."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import urllib.error
import urllib.request
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from prometheus_client import Metric
from prometheus_client.parser import text_string_to_metric_families

from mlflow_model_server import baseline
from mlflow_model_server.drift.monitor import ARTIFACT, share
from mlflow_model_server.metrics import slots
from mlflow_model_server.metrics.collector import Scraper
from mlflow_model_server.metrics.recorder import make_recorder
from mlflow_model_server.metrics.server import start_metrics_server
from mlflow_model_server.metrics.shared_memory import Shared
from mlflow_model_server.settings import Settings
from tests.integration.control_plane import free_port
from tests.unit.server.process import environment_of_server, wait_until

DOCUMENT = Path(__file__).parents[4] / "docs" / "scoring-metrics.md"
ROW = re.compile(r"^\| `(\w+)` \| (\w+) \|([^|]*)\|", re.MULTILINE)
PREFIX = "mlflow_model_server_"
COMMON = {"model", "version", "revision"}


@pytest.fixture
def watched(settings: Settings) -> Settings:
    (settings.artifact / "MLmodel").write_text(
        "utc_time_created: '2026-01-02 03:04:05.000006'\nflavors: {}\n"
    )
    return replace(
        settings, model_name="wine", model_version="3", revision="wine-1", drift=False, workers=2
    )


def families(text: str) -> dict[str, Metric]:
    return {family.name: family for family in text_string_to_metric_families(text)}


def value(text: str, name: str, **labels: str) -> float | None:
    for family in families(text).values():
        for sample in family.samples:
            if sample.name == name and labels.items() <= sample.labels.items():
                return float(sample.value)
    return None


def in_a_worker(shared: Shared, settings: Settings, slot: int) -> None:
    """Counts one of each, in a process of its own that then ends."""
    pid = os.fork()
    if pid == 0:
        recorder = make_recorder(settings, shared, slot)
        recorder.in_flight += 1
        recorder.finished("/invocations", 200, 0.002)
        recorder.finished("/wp-admin.php", 404, 0.0001)
        recorder.phases(0.0001, 0.0002, 0.001, 0.0003)
        recorder.batch(2, 5)
        os._exit(0)
    assert os.waitpid(pid, 0)[1] == 0


def test_numbers_are_summed_over_the_workers(watched: Settings) -> None:
    shared = Shared(2)
    in_a_worker(shared, watched, 0)
    in_a_worker(shared, watched, 1)

    text = Scraper(watched, shared).text()

    assert value(text, PREFIX + "requests_total", route="/invocations", code="200") == 2
    assert value(text, PREFIX + "requests_total", route="other", code="404") == 2
    assert value(text, PREFIX + "requests_in_flight") == 2
    duration = PREFIX + "request_duration_seconds"
    assert value(text, duration + "_bucket", route="/invocations", le="0.001") == 0
    assert value(text, duration + "_bucket", route="/invocations", le="0.0025") == 2
    assert value(text, duration + "_sum", route="/invocations") == pytest.approx(0.004)
    phase = PREFIX + "phase_duration_seconds"
    assert value(text, phase + "_sum", phase="predict") == pytest.approx(0.002)
    assert value(text, phase + "_count", phase="queue") == 2
    assert value(text, PREFIX + "batch_rows_sum") == 10
    assert value(text, PREFIX + "batch_requests_bucket", le="2") == 2


def test_a_replaced_worker_goes_on_where_the_ended_one_stopped(watched: Settings) -> None:
    shared = Shared(2)
    in_a_worker(shared, watched, 1)
    in_a_worker(shared, watched, 1)

    text = Scraper(watched, shared).text()

    assert value(text, PREFIX + "requests_total", route="/invocations") == 2
    assert value(text, PREFIX + "requests_in_flight") == 1, "what was in flight ended with it"


def test_all_metrics_bear_the_models_labels(watched: Settings) -> None:
    shared = Shared(2)
    in_a_worker(shared, watched, 0)

    for family in families(Scraper(watched, shared).text()).values():
        for sample in family.samples:
            assert (
                sample.labels.items()
                >= {
                    "model": "wine",
                    "version": "3",
                    "revision": "wine-1",
                }.items()
            )


def test_the_age_of_the_model_is_told(watched: Settings) -> None:
    text = Scraper(watched, Shared(2), now=lambda: 1767323045.0 + 60).text()
    assert value(text, PREFIX + "model_age_seconds") == pytest.approx(60, abs=0.001)


@pytest.mark.parametrize(("requirement", "as_pinned"), [("numpy", 1), ("numpy==0.1", 0)])
def test_an_environment_other_than_pinned_is_told(
    watched: Settings, requirement: str, as_pinned: int
) -> None:
    (watched.artifact / "requirements.txt").write_text(f"{requirement}\n")
    text = Scraper(watched, Shared(2)).text()
    assert value(text, PREFIX + "environment_as_pinned") == as_pinned


def test_names_and_values_of_any_kind_are_escaped(watched: Settings) -> None:
    odd = replace(watched, model_name='a "quoted"\nname \\ with all')
    text = Scraper(odd, Shared(2)).text()
    assert value(text, PREFIX + "workers", model=odd.model_name) == 2


def test_the_document_tells_of_all_metrics(watched: Settings) -> None:
    shared = Shared(2)
    in_a_worker(shared, watched, 0)
    (watched.artifact / "requirements.txt").write_text("numpy\n")
    rows = np.random.default_rng(1).normal(size=(1000, 2))
    made = baseline.save(watched.artifact, rows, rows[:, 0])
    share(shared, made, ARTIFACT)
    for slot in (0, 1):
        shared.slot(slot)[slots.ONNX] = slots.NOT_BY_ONNX
    shared.slot(0)[slots.DRIFT] = 5000  # so that there is enough to tell an index
    shared.slot(0)[slots.DRIFT + 2 * made.features[0].size] = 5000

    exported = {}
    for family in families(Scraper(replace(watched, onnx=True), shared).text()).values():
        labels = {label for sample in family.samples for label in sample.labels}
        if family.name.startswith("process_"):
            labels -= COMMON
        exported[family.samples[0].name.removesuffix("_bucket")] = (family.type, labels - COMMON)

    documented = {
        name: (kind, set(re.findall(r"`(\w+)`", labels)))
        for name, kind, labels in ROW.findall(DOCUMENT.read_text())
    }
    assert documented == {
        name: (kind, labels - {"le"}) for name, (kind, labels) in exported.items()
    }


def test_the_metrics_server_answers_on_its_own_port(watched: Settings) -> None:
    port = free_port()
    start_metrics_server(replace(watched, metrics_port=port), Shared(2))

    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=30) as answer:
        text = answer.read().decode()
        assert answer.headers["content-type"].startswith("text/plain; version=0.0.4")
    assert value(text, PREFIX + "workers") == 2
    assert (value(text, "process_resident_memory_bytes") or 0) > 1e6
    assert (value(text, "process_cpu_seconds_total") or 0) > 0
    with pytest.raises(urllib.error.HTTPError, match="404"):
        urllib.request.urlopen(f"http://127.0.0.1:{port}/", timeout=30)


def test_the_first_process_loads_nothing_heavy() -> None:
    """It is forked for each worker, and must not load what the model brings its own version of."""
    code = """if True:
        import sys
        from mlflow_model_server.metrics import recorder
        from mlflow_model_server.metrics import server
        from mlflow_model_server.metrics import shared_memory
        from mlflow_model_server.auth import admission
        heavy = "numpy pandas mlflow opentelemetry jwt orjson yaml http.server".split()
        assert not set(heavy) & set(sys.modules), set(heavy) & set(sys.modules)
    """
    subprocess.run([sys.executable, "-c", code], env=environment_of_server(), check=True)


def test_the_metrics_thread_keeps_no_signal_from_the_first_process(watched: Settings) -> None:
    """Of several workers the first process waits in a system call, which only a signal ends."""
    code = f"""if True:
        import os, signal, sys
        from dataclasses import replace
        from pathlib import Path
        from mlflow_model_server.metrics.recorder import make_recorder
        from mlflow_model_server.metrics.server import start_metrics_server
        from mlflow_model_server.metrics.shared_memory import Shared
        from mlflow_model_server.settings import Settings
        settings = replace(Settings(), model_dir=Path({str(watched.model_dir)!r}), drift=False,
                           metrics_port={free_port()}, workers=1)
        shared = Shared(1)
        if (pid := os.fork()) == 0:
            make_recorder(settings, shared).finished("/ping", 200, 0.001)
            signal.pause()
        start_metrics_server(settings, shared)
        def end(*_):
            os.kill(pid, signal.SIGKILL)
        signal.signal(signal.SIGTERM, end)
        print(settings.metrics_port, flush=True)
        os.wait()
    """
    with subprocess.Popen(
        [sys.executable, "-c", code], env=environment_of_server(), stdout=subprocess.PIPE
    ) as process:
        assert process.stdout is not None
        port = int(process.stdout.readline())
        url = f"http://127.0.0.1:{port}/metrics"

        def counted() -> bool:
            with urllib.request.urlopen(url, timeout=30) as answer:
                text = answer.read().decode()
            return value(text, PREFIX + "requests_total", route="/ping") == 1

        wait_until(counted, "the worker has counted")
        process.terminate()
        assert process.wait(30) == 0
