"""Values counted into bins, the baseline, and how far apart the two are."""

from __future__ import annotations

import json
import os
import re
import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import mlflow
import numpy as np
import pandas as pd
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from sklearn.linear_model import LinearRegression

from mlflow_model_server import baseline
from mlflow_model_server.drift import binning
from mlflow_model_server.drift.bins import Baseline, Bins, psi
from mlflow_model_server.drift.monitor import ARTIFACT, DriftMonitor, publish
from mlflow_model_server.metrics import slots
from mlflow_model_server.metrics.collector import WINDOW, Collector
from mlflow_model_server.metrics.recorder import make_recorder
from mlflow_model_server.metrics.shared_memory import SharedMemory
from mlflow_model_server.settings import Settings
from tests.unit.server.metrics.test_metrics import value
from tests.unit.server.process import wait_until

RANDOM = np.random.default_rng(7)
PSI = "mlflow_model_server_feature_psi"


@pytest.fixture
def shared() -> SharedMemory:
    return SharedMemory(1)


def monitor_of(shared: SharedMemory, baseline_rows: int = 1000, slot: int = 0) -> DriftMonitor:
    numbers = shared.slot(slot)
    dropped = numbers[slots.DRIFT_ROWS_DROPPED : slots.DRIFT_ROWS_DROPPED + 1]
    return DriftMonitor(shared, numbers[slots.DRIFT :], dropped, baseline_rows)


def counted(shared: SharedMemory) -> dict[str, dict[str, int]]:
    """Values by feature or output, and by bin; empty bins left out."""
    baseline_ = Baseline.from_json(shared.published())
    by_name = {}
    for bins, place in baseline_.placed():
        place += slots.DRIFT
        counts = shared.slot(0)[place : place + bins.size].tolist()
        by_name[bins.name] = {
            label: int(n) for label, n in zip(bins.labels(), counts, strict=True) if n
        }
    return by_name


def made(features: Any, predictions: Any) -> Baseline:
    return binning.baseline_of(
        binning.feature_columns(features),
        binning.prediction_columns(predictions),
        binning.training_bins,
    )


def test_a_bin_ends_with_its_edge() -> None:
    bins = Bins("x", (0, 0, 0, 0), edges=(1.0, 2.0))
    column = np.array([0.5, 1, 1.5, 2, 2.5, np.inf, -np.inf, np.nan])
    assert binning.count(bins, column).tolist() == [3, 2, 2, 1]
    assert bins.labels() == ["(-inf,1]", "(1,2]", "(2,inf)", "(missing)"]


@given(st.lists(st.one_of(st.floats(), st.none(), st.text(max_size=3)), min_size=1))
def test_each_value_is_in_exactly_a_single_bin(values: list[Any]) -> None:
    column = np.array(values, dtype=object)
    for bins in (
        Bins("x", (0,) * 4, edges=(-1.0, 1.0)),
        Bins("x", (0,) * 4, categories=("a", "b")),
    ):
        counts = binning.count(bins, column)
        assert counts.sum() == len(values) and counts.min() >= 0


@given(
    st.lists(st.floats(), min_size=1), st.sampled_from([binning.training_bins, binning.live_bins])
)
def test_bins_can_be_made_for_any_numbers(values: list[float], bins_of: Any) -> None:
    result = binning.baseline_of({"x": np.array(values)}, {}, bins_of)
    for bins in result.features:
        assert sum(bins.counts) == len(values)
    assert Baseline.from_json(json.loads(json.dumps(result.to_json()))) == result


def test_few_numbers_and_frequent_texts_have_a_bin_each() -> None:
    frame = pd.DataFrame(
        {"grade": [1, 2, 3, 3], "colour": ["red", "white", None, "red"], "ok": [True, False] * 2}
    )
    grade, colour, ok = made(frame, [0.5] * 4).features
    assert (grade.labels()[:-1], grade.counts) == (["(-inf,1]", "(1,2]", "(2,inf)"], (1, 1, 2, 0))
    assert (colour.categories, colour.counts) == (("red", "white"), (2, 1, 0, 1))
    assert ok.counts == (2, 2, 0)


def test_free_text_lists_and_dates_are_not_monitored() -> None:
    frame = pd.DataFrame(
        {
            "text": [f"a review, number {i}" for i in range(100)],
            "list": [[1, 2]] * 100,
            "date": pd.date_range("2026-01-01", periods=100),
        }
    )
    assert made(frame, None).features == ()


@pytest.mark.parametrize(
    ("predictions", "names"),
    [
        (np.zeros(3), ["prediction"]),
        (np.zeros((3, 1)), ["prediction"]),
        (np.zeros((3, 2)), ["0", "1"]),
        (pd.Series([1, 2, 3]), ["prediction"]),
        (pd.DataFrame({"low": [1], "high": [2]}), ["low", "high"]),
        (["a", "b", "a"], ["prediction"]),
        ({"label": np.zeros(3), "odds": np.zeros((3, 2))}, ["label", "odds-0", "odds-1"]),
        ({"text": "a", "list": [1, 2]}, []),
        ({str(i): np.zeros(3) for i in range(17)}, []),
        (np.zeros((3, 100)), []),
        ([[1], [1, 2]], []),
        ([{"a": 1}], []),
        (None, []),
    ],
)
def test_predictions_of_any_form(predictions: Any, names: list[str]) -> None:
    assert list(binning.prediction_columns(predictions)) == names


def test_the_index_distinguishes_drift_from_chance() -> None:
    start = [1000.0] * 10
    assert psi(start, RANDOM.multinomial(1000, [0.1] * 10).tolist()) < 0.1
    assert psi(start, [0.0] * 5 + [200.0] * 5) > 0.25


def test_rows_of_any_form_are_counted_into_the_models_own_bins(shared: SharedMemory) -> None:
    frame = pd.DataFrame({"x": RANDOM.normal(size=500), "colour": ["red", "white"] * 250})
    publish(shared, made(frame, frame["x"].to_numpy()), ARTIFACT)
    monitor = monitor_of(shared)

    monitor.add(
        pd.DataFrame({"x": [99.0, None], "colour": ["blue", "red"]}), np.array([99.0, -99.0])
    )
    monitor.add(pd.DataFrame({"x": [99.0], "colour": ["red"]}), np.array([99.0]))
    monitor.add(pd.DataFrame({"other": [1]}), pd.Series([99.0]))
    monitor.flush()

    counts = counted(shared)
    assert counts["colour"] == {"red": 2, "(other)": 1}
    assert counts["x"].pop("(missing)") == 1 and list(counts["x"].values()) == [2]
    assert sorted(counts["prediction"].values()) == [1, 3]


@pytest.mark.parametrize(
    "predictions_of",
    [lambda rows: rows[:, 0], lambda rows: {"first": rows[:, 0], "others": rows[:, 1:]}],
    ids=["array", "arrays by name"],
)
def test_many_small_arrays_are_counted_like_a_large_array(
    shared: SharedMemory, predictions_of: Callable[[Any], Any]
) -> None:
    rows = RANDOM.normal(size=(700, 3))
    publish(shared, made(rows, predictions_of(rows)), ARTIFACT)
    monitor = monitor_of(shared)
    for row in rows:
        monitor.add(row[None, :], predictions_of(row[None, :]))
    monitor.flush()
    at_once = SharedMemory(1)
    publish(at_once, made(rows, predictions_of(rows)), ARTIFACT)
    large = monitor_of(at_once)
    large.add(rows, predictions_of(rows))
    large.flush()
    assert counted(shared) == counted(at_once)


def test_the_first_rows_are_the_baseline_where_the_model_brings_none(shared: SharedMemory) -> None:
    monitor = monitor_of(shared, baseline_rows=300)
    monitor.feature_names = ("a", "b")
    for _ in range(3):
        monitor.add(RANDOM.normal(size=(100, 2)), RANDOM.normal(size=100))
        monitor.flush()
    assert [bins["name"] for bins in shared.published()["features"]] == ["a", "b"]
    assert counted(shared)["a"] == {}, "they are the baseline, and not counted against it"
    monitor.add(RANDOM.normal(size=(50, 2)), RANDOM.normal(size=50))
    monitor.flush()
    assert sum(counted(shared)["a"].values()) == 50


def test_workers_agree_on_whose_first_rows_count(shared: SharedMemory) -> None:
    both = SharedMemory(2)
    first, second = (monitor_of(both, 100, slot) for slot in (0, 1))
    first.add(RANDOM.normal(size=(100, 1)), None)
    second.add(RANDOM.normal(size=(90, 1)), None)
    second.flush()
    first.flush()
    second.add(RANDOM.normal(size=(10, 1)), None)
    second.flush()
    baseline_ = Baseline.from_json(both.published())
    assert sum(baseline_.features[0].counts) == 100
    assert sum(both.totals()[slots.DRIFT :]) == 10, "of the second, what came after"


@given(
    st.lists(st.floats(allow_nan=False, allow_infinity=False), min_size=1).map(sorted),
    st.sampled_from([binning.quantiles, binning.round_steps]),
)
@example([-1e308, 1e308], binning.round_steps)
@example([-1.7976931348623157e308, 1.7976931348623157e308], binning.quantiles)
@example([0.0, 5e-324], binning.round_steps)
@example([1e16, 1e16 + 2], binning.round_steps)
def test_edges_lie_among_the_values(values: list[float], edges_of: Any) -> None:
    edges = edges_of(np.array(values))
    margin = (values[-1] / 2 - values[0] / 2) * 1e-6 + 1e-300
    assert 0 < len(edges) <= 20
    assert all(values[0] - margin <= edge <= values[-1] + margin for edge in edges)


def test_like_rows_give_the_same_bins_in_pods() -> None:
    edges = {
        binning.baseline_of({"x": RANDOM.normal(50, 9, 1000)}, {}, binning.live_bins)
        .features[0]
        .edges
        for _ in range(20)
    }
    assert len(set().union(*map(set, edges))) <= 12  # type: ignore[arg-type]


def test_rows_that_come_faster_than_they_are_counted_are_dropped(shared: SharedMemory) -> None:
    monitor = monitor_of(shared)
    many = np.zeros((100_000, 20))
    for _ in range(3):
        monitor.add(many, None)
    assert shared.slot(0)[slots.DRIFT_ROWS_DROPPED] == 200_000


def test_a_recorder_has_a_monitor_of_its_own(settings: Settings) -> None:
    (settings.artifact / "MLmodel").write_text("flavors: {}\n")
    rows = RANDOM.normal(size=(500, 2))
    baseline.save(settings.artifact, rows, rows[:, 0])
    shared = SharedMemory(1)
    recorder = make_recorder(settings, shared)
    recorder.observe_rows(rows, rows[:, 0])
    collector = Collector(settings, shared)
    wait_until(lambda: sum(shared.totals()[slots.DRIFT :]) == 1500, "the rows are counted")
    assert value(collector.text(), PSI, feature="0") == pytest.approx(0)


def test_the_index_is_of_the_last_hour(shared: SharedMemory, settings: Settings) -> None:
    (settings.artifact / "MLmodel").write_text("flavors: {}\n")
    moment = 1e9
    collector = Collector(settings, shared, now=lambda: moment)
    rows = RANDOM.normal(size=(2000, 1))
    publish(shared, made(rows, None), ARTIFACT)
    monitor = monitor_of(shared)

    monitor.add(rows + 3, None)
    monitor.flush()
    assert (value(collector.text(), PSI) or 0) > 1
    for _ in range(20):
        moment += WINDOW / 10
        monitor.add(rows, None)
        monitor.flush()
        collector.text()
    assert (value(collector.text(), PSI) or 9) < 0.01


def test_broken_rows_end_nothing(shared: SharedMemory, caplog: pytest.LogCaptureFixture) -> None:
    monitor = monitor_of(shared)
    for features, predictions in ((None, object()), ("text", {"a": 1}), (np.array(1), [b"x"])):
        monitor.add(features, predictions)
    monitor.flush()
    assert not shared.published()


def test_a_broken_baseline_is_logged_and_the_first_rows_replace_it(
    settings: Settings, caplog: pytest.LogCaptureFixture
) -> None:
    (settings.artifact / baseline.FILE).write_text('{"format": 1, "features": [{"name": "x"}]}')
    make_recorder(replace(settings, drift_baseline_rows=100), SharedMemory(1))
    assert "drift_baseline.json: this is not a baseline" in caplog.text
    assert "the first 100 rows are the baseline" in caplog.text


def test_a_baseline_needs_columns(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="there is nothing to monitor: pass the features as"):
        baseline.save(tmp_path, "rows", object())
    with pytest.raises(ValueError, match="is neither a model's folder nor a logged model"):
        baseline.save(tmp_path / "none", np.zeros((3, 1)), None)


def test_a_baseline_is_logged_with_the_model(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Of a test before, by MLflow's own module state.
    monkeypatch.setattr("mlflow.tracking.fluent._active_experiment_id", None)
    monkeypatch.delenv("MLFLOW_EXPERIMENT_ID", raising=False)
    rows = pd.DataFrame({"x": RANDOM.normal(size=50)})
    model = LinearRegression().fit(rows, rows["x"])
    mlflow.set_tracking_uri(f"sqlite:///{tmp_path}/mlflow.db")
    before = Path.cwd()
    os.chdir(tmp_path)  # where the artifacts go
    try:
        info = mlflow.sklearn.log_model(model, name="line")
        saved = baseline.save(info, rows, model.predict(rows))
        fetched = mlflow.artifacts.download_artifacts(info.model_uri, dst_path=str(tmp_path / "m"))
    finally:
        os.chdir(before)
        mlflow.set_tracking_uri(None)
    assert (Path(fetched) / "MLmodel").is_file()
    assert baseline.load(Path(fetched)) == saved
    assert saved.features[0].name == "x"


def test_a_feature_and_an_output_that_are_alike_have_counters_of_their_own(
    shared: SharedMemory,
) -> None:
    alike = Bins("0", (1, 1, 0), (5.0,))
    publish(shared, Baseline((alike,), (alike,)), ARTIFACT)
    monitor = monitor_of(shared)
    monitor.add(np.array([[1.0], [1.0]]), np.array([[9.0, 9.0], [9.0, 9.0]]))
    monitor.flush()
    counts = shared.slot(0)[slots.DRIFT : slots.DRIFT + 6].tolist()
    assert counts == [2, 0, 0, 0, 2, 0]


def labels_of(shared: SharedMemory, settings: Settings) -> set[str]:
    """All values of labels of the features and predictions."""
    lines = [line for line in Collector(settings, shared).text().splitlines() if "bin=" in line]
    return {label for line in lines for label in re.findall(r'="([^"]*)"', line)}


@pytest.fixture
def exposed(settings: Settings) -> Settings:
    (settings.artifact / "MLmodel").write_text("flavors: {}\n")
    return settings


PERSON = "jane.doe@example.com"


@pytest.mark.parametrize(
    "rows",
    [
        pd.DataFrame({"name": [PERSON] * 100}),
        pd.DataFrame({PERSON: [1.0] * 100}),
        pd.DataFrame({"name": [PERSON] * 50 + [1.0] * 50}),
        np.array([[PERSON]] * 100, dtype=object),
    ],
    ids=["value", "name of a column", "mixed", "array"],
)
@pytest.mark.parametrize("of", ["features", "predictions"])
def test_no_text_of_clients_becomes_a_label(exposed: Settings, rows: Any, of: str) -> None:
    shared = SharedMemory(1)
    monitor = monitor_of(shared, 100)
    monitor.feature_names = monitor.output_names = ("name",)
    number = np.zeros(100)
    for _ in range(2):
        monitor.add(*((rows, number) if of == "features" else (number[:, None], rows)))
        monitor.flush()
    labels = labels_of(shared, exposed)
    assert labels, "the numbers are monitored"
    assert not [label for label in labels if "jane" in label]


def test_no_number_of_clients_can_be_read_from_a_label(exposed: Settings) -> None:
    for values in ([78051120.0], [78051120.0, 78051121.0], RANDOM.normal(78051120, 3, 100)):
        shared = SharedMemory(1)
        monitor = monitor_of(shared, 100)
        monitor.add(np.resize(values, 100)[:, None], None)
        monitor.flush()
        assert labels_of(shared, exposed) > {"(-inf,7.81e+07]", "(7.81e+07,inf)"}


def test_names_of_the_signature_are_labels(exposed: Settings) -> None:
    shared = SharedMemory(1)
    monitor = monitor_of(shared, 100)
    monitor.feature_names, monitor.output_names = ("x", "y"), ("low", "odds")
    frame = pd.DataFrame({"x": np.zeros(100), "y": np.ones(100), PERSON: np.ones(100)})
    outputs = {"low": np.zeros(100), "odds": np.zeros((100, 2)), PERSON: np.zeros(100)}
    monitor.add(frame, outputs)
    monitor.flush()
    baseline_ = Baseline.from_json(shared.published())
    assert [bins.name for bins in baseline_.features] == ["x", "y"]
    assert [bins.name for bins in baseline_.predictions] == ["low", "odds-0", "odds-1"]


def test_categories_of_a_logged_baseline_are_labels(exposed: Settings) -> None:
    shared = SharedMemory(1)
    publish(shared, made(pd.DataFrame({"colour": ["red", "white"] * 9}), None), ARTIFACT)
    monitor = monitor_of(shared)
    monitor.add(pd.DataFrame({"colour": ["red", PERSON]}), None)
    monitor.flush()
    assert counted(shared)["colour"] == {"red": 1, "(other)": 1}
    assert labels_of(shared, exposed) >= {"colour", "red", "white", "(other)", "(missing)"}
    assert PERSON not in labels_of(shared, exposed)


class Hostile:
    """What a model's own code may return."""

    def __init__(self, error: type[BaseException]) -> None:
        self.error = error

    @property
    def size(self) -> int:
        raise self.error("size")

    def __len__(self) -> int:
        raise self.error("len")

    def __array__(self, *args: Any, **kwargs: Any) -> Any:
        raise self.error("array")


@pytest.mark.parametrize(
    "predictions",
    [
        np.array([1e308, -1e308] * 50 + list(2 * np.linspace(-8e307, 8e307, 50))),
        np.array([np.inf, -np.inf, np.nan] * 50),
        [10**400] * 100,
        [1e308, "1e999", None, 10**400] * 50,
        Hostile(ValueError),
        [Hostile(SystemExit)] * 100,
    ],
    ids=["large", "infinite", "longer than a float", "mixed", "hostile", "exit"],
)
def test_no_value_ends_the_thread(shared: SharedMemory, predictions: Any) -> None:
    monitor = monitor_of(shared, 100)
    threading.Thread(target=monitor.run, daemon=True).start()
    for each in (predictions, predictions, *[np.arange(100.0)] * 3):
        monitor.add(np.zeros((100, 1)), each)
        monitor.wake.set()
        wait_until(lambda: not monitor._queue, "the rows are taken from the queue")
    wait_until(lambda: shared.published() and counted(shared).get("0"), "further rows are counted")


def test_large_predictions_are_bounded_as_features_are(shared: SharedMemory) -> None:
    monitor = monitor_of(shared)
    for _ in range(30):
        monitor.add(np.zeros((10, 1)), np.zeros((10, 20_000)))
    assert shared.slot(0)[slots.DRIFT_ROWS_DROPPED] == 200


LONG = "x" * (8 << 20)


@pytest.mark.parametrize(
    "rows",
    [
        pd.DataFrame({"text": [LONG]}),
        pd.DataFrame({"text": ["a"] * 99 + [LONG]}),
        pd.Series([LONG]),
        np.array([[LONG]], dtype=object),
        np.array([["a"]] * 99 + [[LONG]], dtype=object),
        [LONG],
        ["a"] * 99 + [LONG],
        {"text": np.array([LONG], dtype=object)},
    ],
    ids=["frame", "long frame", "series", "array", "long array", "list", "long list", "dict"],
)
@pytest.mark.parametrize("of", ["features", "predictions"])
def test_long_texts_do_not_pile_up(shared: SharedMemory, rows: Any, of: str) -> None:
    monitor = monitor_of(shared)
    for _ in range(100):
        monitor.add(*((rows, np.zeros(1)) if of == "features" else (np.zeros((1, 1)), rows)))
    assert len(monitor._queue) <= 16, "at most 128 MiB of such texts"


@pytest.mark.parametrize(
    ("document", "sentence"),
    [
        ({"format": 2}, "format 2 is not supported: write 1"),
        ([], "this is not a baseline"),
        (
            {"edges": [1, 1.0000001, 1.0000002], "counts": [0] * 5},
            "several bins with the same label",
        ),
        ({"categories": ["a", "a"], "counts": [0] * 4}, "several bins with the same label"),
        ({"categories": ["(other)"], "counts": [0] * 3}, "several bins with the same label"),
        ({"edges": [2, 1], "counts": [0] * 4}, "do not ascend"),
        ({"edges": [2], "counts": [float("inf")] * 3}, "this is not a baseline: OverflowError"),
        ({"edges": [10**400], "counts": [0] * 3}, "this is not a baseline: OverflowError"),
    ],
)
def test_a_wrong_baseline_is_refused(document: Any, sentence: str) -> None:
    if "counts" in document:
        document = {"format": 1, "features": [{"name": "x", **document}], "predictions": []}
    with pytest.raises(ValueError, match=sentence):
        Baseline.from_json(document)


def test_two_columns_with_the_same_name_are_no_baseline() -> None:
    twice = [{"name": "x", "edges": [1], "counts": [0] * 3}] * 2
    with pytest.raises(ValueError, match="two features, or two predictions, have the same name"):
        Baseline.from_json({"format": 1, "features": twice, "predictions": []})
