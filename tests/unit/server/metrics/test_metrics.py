"""Metrics of several processes, and that docs/scoring-metrics.md describes all of them."""

from __future__ import annotations

import math
import os
import re
import socket
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from prometheus_client import Metric
from prometheus_client.parser import text_string_to_metric_families

from mlflow_model_server import baseline
from mlflow_model_server.drift.monitor import ARTIFACT, publish
from mlflow_model_server.metrics import handler, slots
from mlflow_model_server.metrics.collector import Collector
from mlflow_model_server.metrics.recorder import make_recorder
from mlflow_model_server.metrics.server import start_metrics_server
from mlflow_model_server.metrics.shared_memory import SharedMemory
from mlflow_model_server.settings import Settings
from tests.integration.control_plane import free_port
from tests.unit.server.process import environment_of_server, wait_until

DOCUMENT = Path(__file__).parents[4] / "docs" / "scoring-metrics.md"
ROW = re.compile(r"^\| `(\w+)` \| (\w+) \|([^|]*)\|", re.MULTILINE)
PREFIX = "mlflow_model_server_"
COMMON = {"model", "version", "revision"}


@pytest.fixture
def configured(settings: Settings) -> Settings:
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


def in_a_worker(shared: SharedMemory, settings: Settings, slot: int) -> None:
    """Counts one of each, in a process of its own that then ends."""
    pid = os.fork()
    if pid == 0:
        recorder = make_recorder(settings, shared, slot)
        recorder.in_flight += 1
        recorder.observe_request("/invocations", 200, 0.002)
        recorder.observe_request("/wp-admin.php", 404, 0.0001)
        recorder.observe_phases(0.0001, 0.0002, 0.001, 0.0003)
        recorder.observe_batch(2, 5)
        os._exit(0)
    assert os.waitpid(pid, 0)[1] == 0


def test_numbers_are_summed_over_the_workers(configured: Settings) -> None:
    shared = SharedMemory(2)
    in_a_worker(shared, configured, 0)
    in_a_worker(shared, configured, 1)

    text = Collector(configured, shared).text()

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


def test_a_replaced_worker_goes_on_where_the_ended_worker_stopped(configured: Settings) -> None:
    shared = SharedMemory(2)
    in_a_worker(shared, configured, 1)
    in_a_worker(shared, configured, 1)

    text = Collector(configured, shared).text()

    assert value(text, PREFIX + "requests_total", route="/invocations") == 2
    assert value(text, PREFIX + "requests_in_flight") == 1, "what was in flight ended with it"


def test_all_metrics_bear_the_models_labels(configured: Settings) -> None:
    shared = SharedMemory(2)
    in_a_worker(shared, configured, 0)

    for family in families(Collector(configured, shared).text()).values():
        for sample in family.samples:
            assert (
                sample.labels.items()
                >= {
                    "model": "wine",
                    "version": "3",
                    "revision": "wine-1",
                }.items()
            )


def test_the_age_of_the_model_is_exposed(configured: Settings) -> None:
    text = Collector(configured, SharedMemory(2), now=lambda: 1767323045.0 + 60).text()
    assert value(text, PREFIX + "model_age_seconds") == pytest.approx(60, abs=0.001)


@pytest.mark.parametrize(("requirement", "matches"), [("numpy", 1), ("numpy==0.1", 0)])
def test_an_environment_other_than_required_is_exposed(
    configured: Settings, requirement: str, matches: int
) -> None:
    (configured.artifact / "requirements.txt").write_text(f"{requirement}\n")
    text = Collector(configured, SharedMemory(2)).text()
    assert value(text, PREFIX + "environment_matches_model") == matches


def test_names_and_values_of_any_kind_are_escaped(configured: Settings) -> None:
    odd = replace(configured, model_name='a "quoted"\nname \\ with all')
    text = Collector(odd, SharedMemory(2)).text()
    assert value(text, PREFIX + "workers", model=odd.model_name) == 2


def test_the_document_describes_all_metrics(configured: Settings) -> None:
    shared = SharedMemory(2, shadow=True)
    assert shared.shadow is not None
    for slot in (0, 1):
        shared.shadow.part(slot).begin("wine-2", "4")
    in_a_worker(shared, configured, 0)
    (configured.artifact / "requirements.txt").write_text("numpy\n")
    rows = np.random.default_rng(1).normal(size=(1000, 2))
    made = baseline.save(configured.artifact, rows, rows[:, 0])
    publish(shared, made, ARTIFACT)
    for slot in (0, 1):
        shared.slot(slot)[slots.ONNX] = slots.ONNX_INACTIVE
    shared.slot(0)[slots.DRIFT] = 5000  # enough for an index
    shared.slot(0)[slots.DRIFT + 2 * made.features[0].size] = 5000

    exported = {}
    full = replace(configured, onnx=True, staleness_column="event_time")
    for family in families(Collector(full, shared).text()).values():
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


def test_the_metrics_server_answers_on_its_own_port(configured: Settings) -> None:
    port = free_port()
    start_metrics_server(replace(configured, metrics_port=port), SharedMemory(2))

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


def test_the_metrics_thread_keeps_no_signal_from_the_first_process(configured: Settings) -> None:
    """Of several workers the first process waits in a system call, which only a signal ends."""
    code = f"""if True:
        import os, signal, sys
        from dataclasses import replace
        from pathlib import Path
        from mlflow_model_server.metrics.recorder import make_recorder
        from mlflow_model_server.metrics.server import start_metrics_server
        from mlflow_model_server.metrics.shared_memory import SharedMemory
        from mlflow_model_server.settings import Settings
        settings = replace(Settings(), model_dir=Path({str(configured.model_dir)!r}), drift=False,
                           metrics_port={free_port()}, workers=1)
        shared = SharedMemory(1)
        if (pid := os.fork()) == 0:
            make_recorder(settings, shared).observe_request("/ping", 200, 0.001)
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


@contextmanager
def dripping(port: int, count: int) -> Iterator[list[socket.socket]]:
    """Clients that send a header now and then, and no end of their request."""
    clients = [socket.create_connection(("127.0.0.1", port)) for _ in range(count)]
    ended = threading.Event()

    def drip() -> None:
        while not ended.wait(0.1):
            for client in clients:
                with suppress(OSError):
                    client.sendall(b"a: b\r\n")

    for client in clients:
        client.sendall(b"GET /metrics HTTP/1.1\r\n")
    thread = threading.Thread(target=drip)
    thread.start()
    yield clients
    ended.set()
    thread.join()
    for client in clients:
        client.close()


def scrape(port: int) -> str:
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=30) as answer:
        text: str = answer.read().decode()
    return text


def is_closed(client: socket.socket) -> bool:
    client.settimeout(30)
    try:
        return client.recv(1000) == b""
    except ConnectionError:
        return True


@pytest.mark.parametrize("count", [1, 3 * handler.MAX_CLIENTS])
def test_dripping_clients_stop_no_scrape(
    configured: Settings, monkeypatch: pytest.MonkeyPatch, count: int
) -> None:
    monkeypatch.setattr(handler, "CLIENT_TIMEOUT", 60.0)
    port = free_port()
    start_metrics_server(replace(configured, metrics_port=port), SharedMemory(2))
    scrape(port)
    threads = threading.active_count()
    with dripping(port, count) as clients:
        for _ in range(5):
            assert value(scrape(port), PREFIX + "workers") == 2
        assert threading.active_count() - threads <= handler.MAX_CLIENTS + 1
        if count > handler.MAX_CLIENTS:
            assert is_closed(clients[0]), "the oldest made room"


def test_a_dripping_client_is_ended_in_time(
    configured: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(handler, "CLIENT_TIMEOUT", 1.0)
    port = free_port()
    start_metrics_server(replace(configured, metrics_port=port), SharedMemory(2))
    with dripping(port, 2) as clients:
        assert all(map(is_closed, clients))


def test_the_time_for_collecting_is_not_the_clients(
    configured: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    def slow(self: Collector) -> str:
        time.sleep(2)
        return "slow 1\n"

    monkeypatch.setattr(handler, "CLIENT_TIMEOUT", 0.5)
    monkeypatch.setattr(Collector, "text", slow)
    port = free_port()
    start_metrics_server(replace(configured, metrics_port=port), SharedMemory(2))
    assert scrape(port) == "slow 1\n"


def test_a_failed_collection_is_500_and_the_next_scrape_is_answered(
    configured: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    port = free_port()
    start_metrics_server(replace(configured, metrics_port=port), SharedMemory(2))
    with monkeypatch.context() as broken:
        broken.setattr(Collector, "text", lambda self: 1 / 0)
        with pytest.raises(urllib.error.HTTPError, match="500"):
            scrape(port)
    assert value(scrape(port), PREFIX + "workers") == 2


def test_odd_numbers_are_numbers_of_prometheus(configured: Settings) -> None:
    shared = SharedMemory(2)
    recorder = make_recorder(configured, shared)
    recorder.observe_request("/ping", 200, float("nan"))
    recorder.observe_request("/version", 200, float("inf"))
    text = Collector(configured, shared).text()
    total = PREFIX + "request_duration_seconds_sum"
    assert math.isnan(value(text, total, route="/ping") or 0)
    assert value(text, total, route="/version") == math.inf


def test_help_is_a_sentence(configured: Settings) -> None:
    for family in families(Collector(configured, SharedMemory(2)).text()).values():
        assert re.fullmatch(r"[A-Z1].*[a-z0-9]\.", family.documentation), family.documentation
