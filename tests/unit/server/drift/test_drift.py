"""Values counted into bins, the baseline, and how far apart the two are."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import mlflow
import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.linear_model import LinearRegression

from mlflow_model_server import baseline
from mlflow_model_server.drift import binning
from mlflow_model_server.drift.bins import Baseline, Bins, psi
from mlflow_model_server.drift.monitor import ARTIFACT, Watcher, share
from mlflow_model_server.metrics import slots
from mlflow_model_server.metrics.collector import WINDOW, Scraper
from mlflow_model_server.metrics.recorder import make_recorder
from mlflow_model_server.metrics.shared_memory import Shared
from mlflow_model_server.settings import Settings
from tests.unit.server.metrics.test_metrics import value
from tests.unit.server.process import wait_until

RANDOM = np.random.default_rng(7)
PSI = "mlflow_model_server_feature_psi"


@pytest.fixture
def shared() -> Shared:
    return Shared(1)


def watcher(shared: Shared, baseline_rows: int = 1000, slot: int = 0) -> Watcher:
    numbers = shared.slot(slot)
    dropped = numbers[slots.DRIFT_ROWS_DROPPED : slots.DRIFT_ROWS_DROPPED + 1]
    return Watcher(shared, numbers[slots.DRIFT :], dropped, baseline_rows)


def counted(shared: Shared) -> dict[str, dict[str, int]]:
    """Values by feature or output, and by bin; empty bins left out."""
    known = Baseline.from_json(shared.agreed())
    found = {}
    for bins, place in known.placed():
        place += slots.DRIFT
        counts = shared.slot(0)[place : place + bins.size].tolist()
        found[bins.name] = {
            label: int(n) for label, n in zip(bins.labels(), counts, strict=True) if n
        }
    return found


def made(features: Any, predictions: Any) -> Baseline:
    return binning.baseline_of(
        binning.feature_columns(features),
        binning.prediction_columns(predictions),
        binning.quantiles,
    )


def test_a_bin_ends_with_its_edge() -> None:
    bins = Bins("x", (0, 0, 0, 0), edges=(1.0, 2.0))
    column = np.array([0.5, 1, 1.5, 2, 2.5, np.inf, -np.inf, np.nan])
    assert binning.count(bins, column).tolist() == [3, 2, 2, 1]
    assert bins.labels() == ["(-inf,1]", "(1,2]", "(2,inf)", "(missing)"]


@given(st.lists(st.one_of(st.floats(), st.none(), st.text(max_size=3)), min_size=1))
def test_each_value_falls_into_one_bin_of_any_kind(values: list[Any]) -> None:
    column = np.array(values, dtype=object)
    for bins in (
        Bins("x", (0,) * 4, edges=(-1.0, 1.0)),
        Bins("x", (0,) * 4, categories=("a", "b")),
    ):
        counts = binning.count(bins, column)
        assert counts.sum() == len(values) and counts.min() >= 0


@given(st.lists(st.floats(), min_size=1), st.sampled_from([binning.quantiles, binning.round_steps]))
def test_bins_can_be_made_for_any_numbers(values: list[float], edges_of: Any) -> None:
    with np.errstate(all="ignore"):
        found = binning.baseline_of({"x": np.array(values)}, {}, edges_of)
    for bins in found.features:
        assert sum(bins.counts) == len(values)
    assert Baseline.from_json(json.loads(json.dumps(found.to_json()))) == found


def test_few_numbers_and_frequent_texts_have_a_bin_each() -> None:
    frame = pd.DataFrame(
        {"grade": [1, 2, 3, 3], "colour": ["red", "white", None, "red"], "ok": [True, False] * 2}
    )
    grade, colour, ok = made(frame, [0.5] * 4).features
    assert (grade.labels()[:-1], grade.counts) == (["(-inf,1]", "(1,2]", "(2,inf)"], (1, 1, 2, 0))
    assert (colour.categories, colour.counts) == (("red", "white"), (2, 1, 0, 1))
    assert ok.counts == (2, 2, 0)


def test_free_text_lists_and_dates_are_not_watched() -> None:
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


def test_the_index_tells_drift_from_chance() -> None:
    start = [1000.0] * 10
    assert psi(start, RANDOM.multinomial(1000, [0.1] * 10).tolist()) < 0.1
    assert psi(start, [0.0] * 5 + [200.0] * 5) > 0.25


def test_rows_of_any_form_are_counted_into_the_models_own_bins(shared: Shared) -> None:
    frame = pd.DataFrame({"x": RANDOM.normal(size=500), "colour": ["red", "white"] * 250})
    share(shared, made(frame, frame["x"].to_numpy()), ARTIFACT)
    told = watcher(shared)

    told.add(pd.DataFrame({"x": [99.0, None], "colour": ["blue", "red"]}), np.array([99.0, -99.0]))
    told.add(pd.DataFrame({"x": [99.0], "colour": ["red"]}), np.array([99.0]))
    told.add(pd.DataFrame({"other": [1]}), pd.Series([99.0]))
    told.flush()

    found = counted(shared)
    assert found["colour"] == {"red": 2, "(other)": 1}
    assert found["x"].pop("(missing)") == 1 and list(found["x"].values()) == [2]
    assert sorted(found["prediction"].values()) == [1, 3]


@pytest.mark.parametrize(
    "predictions_of",
    [lambda rows: rows[:, 0], lambda rows: {"first": rows[:, 0], "others": rows[:, 1:]}],
    ids=["array", "arrays by name"],
)
def test_many_small_arrays_are_counted_as_one_large(
    shared: Shared, predictions_of: Callable[[Any], Any]
) -> None:
    rows = RANDOM.normal(size=(700, 3))
    share(shared, made(rows, predictions_of(rows)), ARTIFACT)
    told = watcher(shared)
    for row in rows:
        told.add(row[None, :], predictions_of(row[None, :]))
    told.flush()
    at_once = Shared(1)
    share(at_once, made(rows, predictions_of(rows)), ARTIFACT)
    large = watcher(at_once)
    large.add(rows, predictions_of(rows))
    large.flush()
    assert counted(shared) == counted(at_once)


def test_the_first_rows_are_the_baseline_where_the_model_brings_none(shared: Shared) -> None:
    told = watcher(shared, baseline_rows=300)
    told.feature_names = ("a", "b")
    for _ in range(3):
        told.add(RANDOM.normal(size=(100, 2)), RANDOM.normal(size=100))
        told.flush()
    assert [bins["name"] for bins in shared.agreed()["features"]] == ["a", "b"]
    assert counted(shared)["a"] == {}, "they are the baseline, and not counted against it"
    told.add(RANDOM.normal(size=(50, 2)), RANDOM.normal(size=50))
    told.flush()
    assert sum(counted(shared)["a"].values()) == 50


def test_workers_agree_on_whose_first_rows_count(shared: Shared) -> None:
    both = Shared(2)
    first, second = (watcher(both, 100, slot) for slot in (0, 1))
    first.add(RANDOM.normal(size=(100, 1)), None)
    second.add(RANDOM.normal(size=(90, 1)), None)
    second.flush()
    first.flush()
    second.add(RANDOM.normal(size=(10, 1)), None)
    second.flush()
    known = Baseline.from_json(both.agreed())
    assert sum(known.features[0].counts) == 100
    assert sum(both.totals()[slots.DRIFT :]) == 10, "of the second, what came after"


def test_like_rows_give_the_same_bins_in_most_pods() -> None:
    edges = {
        binning.baseline_of({"x": RANDOM.normal(50, 9, 1000)}, {}, binning.round_steps)
        .features[0]
        .edges
        for _ in range(20)
    }
    assert len(set().union(*map(set, edges))) <= 12  # type: ignore[arg-type]


def test_what_comes_faster_than_it_is_counted_is_dropped_and_told(shared: Shared) -> None:
    told = watcher(shared)
    many = np.zeros((100_000, 20))
    for _ in range(3):
        told.add(many, None)
    assert shared.slot(0)[slots.DRIFT_ROWS_DROPPED] == 200_000


def test_a_recorder_watches_by_itself(settings: Settings) -> None:
    (settings.artifact / "MLmodel").write_text("flavors: {}\n")
    rows = RANDOM.normal(size=(500, 2))
    baseline.save(settings.artifact, rows, rows[:, 0])
    shared = Shared(1)
    recorder = make_recorder(settings, shared)
    recorder.rows(rows, rows[:, 0])
    scraper = Scraper(settings, shared)
    wait_until(lambda: sum(shared.totals()[slots.DRIFT :]) == 1500, "the rows are counted")
    assert value(scraper.text(), PSI, feature="0") == pytest.approx(0)


def test_the_index_is_of_the_last_hour(shared: Shared, settings: Settings) -> None:
    (settings.artifact / "MLmodel").write_text("flavors: {}\n")
    moment = 1e9
    scraper = Scraper(settings, shared, now=lambda: moment)
    rows = RANDOM.normal(size=(2000, 1))
    share(shared, made(rows, None), ARTIFACT)
    told = watcher(shared)

    told.add(rows + 3, None)
    told.flush()
    assert (value(scraper.text(), PSI) or 0) > 1
    for _ in range(20):
        moment += WINDOW / 10
        told.add(rows, None)
        told.flush()
        scraper.text()
    assert (value(scraper.text(), PSI) or 9) < 0.01


def test_broken_rows_end_nothing(shared: Shared, caplog: pytest.LogCaptureFixture) -> None:
    told = watcher(shared)
    for features, predictions in ((None, object()), ("text", {"a": 1}), (np.array(1), [b"x"])):
        told.add(features, predictions)
    told.flush()
    assert not shared.agreed()


def test_a_broken_baseline_is_told_and_the_first_rows_taken(
    settings: Settings, caplog: pytest.LogCaptureFixture
) -> None:
    (settings.artifact / baseline.FILE).write_text('{"format": 1, "features": [{"name": "x"}]}')
    make_recorder(replace(settings, drift_baseline_rows=100), Shared(1))
    assert "drift_baseline.json: this is no baseline" in caplog.text
    assert "the first 100 rows are the baseline" in caplog.text


def test_a_baseline_needs_something_to_watch(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="there is nothing to watch: give the features as"):
        baseline.save(tmp_path, "rows", object())
    with pytest.raises(ValueError, match="is no model's folder, and no logged model"):
        baseline.save(tmp_path / "none", np.zeros((3, 1)), None)


def test_a_baseline_is_logged_with_the_model(tmp_path: Path) -> None:
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


def test_a_feature_and_an_output_that_are_alike_have_counters_of_their_own(shared: Shared) -> None:
    alike = Bins("0", (1, 1, 0), (5.0,))
    share(shared, Baseline((alike,), (alike,)), ARTIFACT)
    one = watcher(shared)
    one.add(np.array([[1.0], [1.0]]), np.array([[9.0, 9.0], [9.0, 9.0]]))
    one.flush()
    counts = shared.slot(0)[slots.DRIFT : slots.DRIFT + 6].tolist()
    assert counts == [2, 0, 0, 0, 2, 0]
