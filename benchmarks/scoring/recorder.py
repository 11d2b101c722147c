"""What observing costs, in CPU microseconds for each request of one row with 13 features.

`python -m benchmarks.scoring.recorder`: the best of several rounds, so that other load counts
little.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np

from mlflow_model_server import baseline
from mlflow_model_server.metrics.collector import Collector
from mlflow_model_server.metrics.recorder import Recorder, make_recorder
from mlflow_model_server.metrics.shared_memory import SharedMemory
from mlflow_model_server.settings import Settings

ROUNDS, CALLS = 7, 2000
FEATURES = np.random.default_rng(1).normal(size=(1000, 13))
ROWS = [FEATURES[i : i + 1] for i in range(len(FEATURES))]
PREDICTIONS = [FEATURES[i : i + 1, 0] for i in range(len(FEATURES))]


def main() -> None:
    """Prints a table."""
    with tempfile.TemporaryDirectory() as folder:
        settings = replace(Settings(), model_dir=Path(folder), model_name="wine")
        settings.artifact.mkdir()
        (settings.artifact / "MLmodel").write_text("flavors: {}\n")
        baseline.save(settings.artifact, FEATURES, FEATURES[:, 0])
        shared = SharedMemory(1)
        recorder = make_recorder(settings, shared)
        nothing = _microseconds(lambda _: None)
        costs = {what: _microseconds(call) - nothing for what, call in _calls(recorder).items()}
        costs["rows, counted into bins later"] = _binning(recorder)
        collector = Collector(settings, shared)
        collector.text()
        scrape = _microseconds(lambda _: collector.text(), calls=20)
    for what, cost in costs.items():
        print(f"{what:32} {cost:6.2f} µs")
    print(f"{'together, for each request':32} {sum(costs.values()):6.2f} µs")
    print(f"{'a scrape':32} {scrape / 1000:6.2f} ms")


def _calls(recorder: Recorder) -> dict[str, Callable[[int], None]]:
    def in_flight(_: int) -> None:
        recorder.in_flight += 1
        recorder.in_flight -= 1

    return {
        "in_flight, up and down": in_flight,
        "observe_request": lambda _: recorder.observe_request("/invocations", 200, 0.00018),
        "observe_phases": lambda _: recorder.observe_phases(0.00001, 0.00002, 0.00014, 0.00001),
        "observe_batch, of one request": lambda _: recorder.observe_batch(1, 1),
        "observe_rows": lambda i: recorder.observe_rows(ROWS[i % 1000], PREDICTIONS[i % 1000]),
    }


def _microseconds(call: Callable[[int], object], calls: int = CALLS) -> float:
    """CPU time of this thread for one call."""
    best = float("inf")
    for _ in range(ROUNDS):
        started = time.thread_time()
        for number in range(calls):
            call(number)
        best = min(best, (time.thread_time() - started) / calls)
    return best * 1e6


def _binning(recorder: Recorder) -> float:
    watcher = recorder._drift_monitor
    assert watcher is not None
    best = float("inf")
    for _ in range(ROUNDS):
        for number in range(CALLS):
            recorder.observe_rows(ROWS[number % 1000], PREDICTIONS[number % 1000])
        started = time.thread_time()
        watcher.flush()
        best = min(best, (time.thread_time() - started) / CALLS)
    return best * 1e6


if __name__ == "__main__":
    main()
