"""How old features are: what is read as a time, what is counted, and that nothing fails."""

from __future__ import annotations

import math
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import requests
from hypothesis import given
from hypothesis import strategies as st
from sklearn.datasets import load_wine

from mlflow_model_server.drift.bins import AGES
from mlflow_model_server.drift.feature_age import MAX_ROWS, FeatureAges, column_of, times_of
from mlflow_model_server.metrics import slots
from mlflow_model_server.metrics.collector import Collector
from mlflow_model_server.metrics.recorder import make_recorder
from mlflow_model_server.metrics.shared_memory import SharedMemory
from mlflow_model_server.settings import Settings
from tests.unit.server import models
from tests.unit.server.http.test_app import metric
from tests.unit.server.process import serving

NOW = 1_800_000_000.0
MOMENT = datetime.fromtimestamp(NOW, UTC)
NAME = "mlflow_model_server_feature_age_seconds"
INVALID = "mlflow_model_server_feature_age_invalid_rows_total"


class Counted:
    """The histogram of one worker, with a clock that stands still."""

    def __init__(self, column: str = "event_time") -> None:
        self.numbers = memoryview(bytearray(8 * (len(AGES) + 2))).cast("d")
        self.none = memoryview(bytearray(8)).cast("d")
        self.ages = FeatureAges(column, self.numbers, self.none, lambda: NOW)

    @property
    def rows(self) -> dict[float, int]:
        """By bucket; empty ones left out."""
        bounds = (*AGES, math.inf)
        return {bound: int(self.numbers[i]) for i, bound in enumerate(bounds) if self.numbers[i]}

    @property
    def invalid(self) -> int:
        return int(self.none[0])


@pytest.mark.parametrize(
    "time",
    [
        NOW - 90,
        int(NOW - 90),
        1000 * (NOW - 90),
        (MOMENT - timedelta(seconds=90)).isoformat(),
        (MOMENT - timedelta(seconds=90)).isoformat().replace("+00:00", "Z"),
        (MOMENT - timedelta(seconds=90)).replace(tzinfo=None).isoformat(" "),
        MOMENT - timedelta(seconds=90),
        pd.Timestamp(MOMENT - timedelta(seconds=90)).tz_convert("Asia/Tokyo"),
        np.datetime64(int(NOW - 90), "s"),
    ],
)
def test_a_time_is_read_in_each_usual_form(time: Any) -> None:
    counted = Counted()
    counted.ages.observe(pd.DataFrame({"a": [1.0], "event_time": [time]}))
    assert (counted.rows, counted.invalid) == ({300.0: 1}, 0)
    assert counted.numbers[len(AGES) + 1] == pytest.approx(90)


@pytest.mark.parametrize("time", [None, "soon", "", True, -5, 0, math.nan, math.inf, pd.NaT, [1]])
def test_what_states_no_time_counts_as_invalid(time: Any) -> None:
    counted = Counted()
    counted.ages.observe(pd.DataFrame({"event_time": pd.Series([time], dtype=object)}))
    assert (counted.rows, counted.invalid) == ({}, 1)


@pytest.mark.parametrize(
    "features",
    [
        pd.DataFrame({"a": [1.0, 2.0]}),
        pd.DataFrame([[NOW, NOW], [NOW, NOW]], columns=["event_time", "event_time"]),
        np.zeros((2, 3)),
    ],
)
def test_rows_without_the_column_count_as_invalid(features: Any) -> None:
    counted = Counted()
    counted.ages.observe(features)
    assert (counted.rows, counted.invalid) == ({}, 2)


@pytest.mark.parametrize("features", [None, "text", [1, 2], {"a": np.zeros(2)}, np.zeros(())])
def test_other_inputs_count_as_an_invalid_row(features: Any) -> None:
    counted = Counted()
    counted.ages.observe(features)
    assert (counted.rows, counted.invalid) == ({}, 1)


def test_a_time_in_the_future_has_the_age_zero() -> None:
    counted = Counted()
    counted.ages.observe({"event_time": np.array([NOW + 60])})
    assert (counted.rows, counted.invalid) == ({1.0: 1}, 0)
    assert counted.numbers[len(AGES) + 1] == 0


def test_an_array_has_the_columns_of_the_signature() -> None:
    counted = Counted("when")
    counted.ages.feature_names = ("a", "when")
    counted.ages.observe(np.array([[1.0, NOW - 2], [1.0, NOW - 4000]]))
    assert counted.rows == {5.0: 1, 7200.0: 1}


@pytest.mark.parametrize("rows", [1, MAX_ROWS, MAX_ROWS + 1, 100_000])
def test_of_many_rows_some_are_looked_at(rows: int) -> None:
    frame = pd.DataFrame({"event_time": ["2026-01-01T00:00:00Z"] * rows})
    column = column_of(frame, "event_time")
    assert min(rows, MAX_ROWS) / 2 < len(column) <= MAX_ROWS
    counted = Counted()
    counted.ages.observe(np.zeros((rows, 2)))
    assert counted.invalid == len(column)


@given(
    st.lists(
        st.one_of(
            st.floats(),
            st.integers(),
            st.text(max_size=70),
            st.none(),
            st.datetimes(),
            st.booleans(),
        ),
        min_size=1,
    )
)
def test_each_value_is_counted_once_whatever_it_is(values: list[Any]) -> None:
    counted = Counted()
    counted.ages.observe(pd.DataFrame({"event_time": pd.Series(values, dtype=object)}))
    assert sum(counted.rows.values()) + counted.invalid == len(values)
    assert counted.numbers[len(AGES) + 1] >= 0
    assert len(times_of(np.array([*values, None], dtype=object))) == len(values) + 1


def test_it_costs_nothing_where_it_is_not_configured(settings: Settings) -> None:
    shared = SharedMemory(1)
    recorder = make_recorder(replace(settings, drift=False), shared)
    recorder.observe_rows(pd.DataFrame({"event_time": [NOW]}))
    (settings.artifact / "MLmodel").write_text("flavors: {}\n")
    assert "feature_age" not in Collector(settings, shared).text()
    assert not any(shared.slot(0)[slots.FEATURE_AGE_INVALID : slots.DRIFT])


def test_the_rows_of_invocations_are_counted_with_an_additional_column(
    settings: Settings, tmp_path: Path, unused_tcp_port_factory: Any
) -> None:
    models.save_wine(tmp_path / "source")
    port, metrics = unused_tcp_port_factory(), unused_tcp_port_factory()
    variables = {"METRICS_PORT": str(metrics), "STALENESS_COLUMN": "event_time"}
    frame, _ = load_wine(return_X_y=True, as_frame=True)
    hour_ago = datetime.now(UTC) - timedelta(hours=1, seconds=30)
    rows = frame.iloc[:3].assign(event_time=[hour_ago.isoformat(), "never", hour_ago.timestamp()])
    with serving(settings.model_dir, port, **variables) as server:
        response = server.predict({"dataframe_split": rows.to_dict(orient="split")})
        assert response.json() == {"predictions": [0, 0, 0]}
        assert metric(metrics, f"{NAME}_bucket", le="3600") == 0
        assert metric(metrics, f"{NAME}_bucket", le="7200") == 2
        assert metric(metrics, INVALID) == 1
        assert server.predict({"dataframe_split": frame.iloc[:2].to_dict(orient="split")}).ok
        assert metric(metrics, INVALID) == 3


def test_the_rows_of_the_fast_path_and_of_the_open_inference_protocol_are_counted(
    settings: Settings, tmp_path: Path, unused_tcp_port_factory: Any
) -> None:
    models.save_wine(tmp_path / "source")
    port, metrics = unused_tcp_port_factory(), unused_tcp_port_factory()
    variables = {"METRICS_PORT": str(metrics), "STALENESS_COLUMN": "proline"}
    frame, _ = load_wine(return_X_y=True, as_frame=True)
    inputs = [
        {"name": name, "shape": [2], "datatype": "FP64", "data": frame[name][:2].tolist()}
        for name in frame
    ]
    with serving(settings.model_dir, port, **variables) as server:
        assert server.predict({"dataframe_split": frame.iloc[:3].to_dict(orient="split")}).ok
        assert metric(metrics, f"{NAME}_count") == 3
        response = requests.post(
            server.url("/v2/models/mlflow-model/infer"), json={"inputs": inputs}, timeout=30
        )
        assert response.ok, response.text
        assert metric(metrics, f"{NAME}_count") == 5
        assert metric(metrics, INVALID) == 0
