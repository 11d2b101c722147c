"""What is read from a pod's metrics, whatever it serves."""

from __future__ import annotations

import math
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlflow_model_operator.analysis.counts import counts
from mlflow_model_operator.analysis.exposition import (
    MAX_LINE_BYTES,
    MAX_SERIES,
    PREDICTIONS,
    REQUESTS,
    ExpositionParser,
    InvalidExposition,
    Series,
)
from mlflow_model_server.drift.bins import AGES, Bins
from mlflow_model_server.metrics import slots
from mlflow_model_server.metrics.exposition import DriftSeries, Process, Snapshot, render
from tests.unit.operator.analysis.expositions import exposition, parsed, text

START = 'process_start_time_seconds{revision="new"} 1000'


def line(labels: str = 'revision="new",route="/invocations",code="200"', value: str = "5") -> str:
    return f"{REQUESTS}{{{labels}}} {value}\n{START}\n"


def test_the_counters_of_the_scoring_servers_own_exposition_are_read() -> None:
    numbers = [0.0] * slots.SLOT
    numbers[slots.requests_at(0) + 100] = 7  # /invocations, 200
    numbers[slots.requests_at(0) + 399] = 2  # 499
    numbers[slots.duration_at(0) + 9] = 9  # up to 0.01 s
    numbers[slots.FEATURE_AGES + AGES.index(86400.0)] = 5
    bins = Bins("quality", (1, 1, 1, 0), edges=(5.0, 6.0))
    body = render(
        Snapshot(
            numbers=numbers,
            labels={"model": 'a"b\\c\nd', "version": "1", "revision": "wine-abc"},
            workers=1,
            process=Process(cpu_seconds=1.0, start_time=1234.5),
            predictions=[DriftSeries(bins, (3, 4, 2, 0), (3, 4, 2, 0))],
            features=[DriftSeries(bins, (3, 4, 2, 0), (3, 4, 2, 0))],
            baseline_source="artifact",
            measures_feature_ages=True,
        )
    )
    read = parsed(body, "wine-abc")
    assert read.started == 1234.5
    assert read.samples[Series(REQUESTS, "/invocations", "200")] == 7
    assert read.samples[Series(REQUESTS, "/invocations", "499")] == 2
    assert counts(read.samples).ages == {
        bound: 5 if bound >= 86400 else 0 for bound in (*AGES, math.inf)
    }
    found = {series.second: n for series, n in read.samples.items() if series[0] == PREDICTIONS}
    assert found == {"(-inf,5]": 3, "(5,6]": 4, "(6,inf)": 2, "(missing)": 0}


@given(st.integers(1, 200))
def test_chunks_may_end_anywhere(size: int) -> None:
    body = text("new", {200: 5, 500: 1}, bins={"(-inf,5]": 3}).encode()
    parser = ExpositionParser("new")
    for start in range(0, len(body), size):
        parser.feed(body[start : start + size])
    assert parser.finish() == exposition("new", {200: 5, 500: 1}, bins={"(-inf,5]": 3})


def test_labels_are_unescaped() -> None:
    labels = r'revision="new",output="a\"b\\c\nd",bin="x, y=\"}"'
    read = parsed(f"{PREDICTIONS}{{{labels}}} 3\n{START}\n", "new")
    assert read.samples == {Series(PREDICTIONS, 'a"b\\c\nd', 'x, y="}'): 3}


@pytest.mark.parametrize(
    ("body", "why"),
    [
        ("", "no metrics of the scoring server"),
        ("<html>hello</html>", "no metrics of the scoring server"),
        (line('revision="old",code="200"'), "another revision"),
        (line(value="NaN"), "not a number"),
        (line(value="1e999"), "not a number"),
        (line(value="-1"), "not a number"),
        (line(value="many"), "no value"),
        (line(value=""), "no value"),
        (line('revision="new'), "invalid labels"),
        (line("revision=new"), "invalid labels"),
        (line('revision="new",x="' + "y" * MAX_LINE_BYTES + '"'), "more than 4096 bytes"),
        ("x" * (MAX_LINE_BYTES + 1), "more than 4096 bytes"),
        (
            "".join(line(f'revision="new",route="{i}"') for i in range(MAX_SERIES + 1)),
            "more than 8192 series",
        ),
    ],
)
def test_what_is_not_an_exposition_of_the_revision_is_refused(body: str, why: str) -> None:
    with pytest.raises(InvalidExposition, match=why):
        parsed(body, "new")


@given(st.binary(max_size=500))
def test_no_text_does_anything_but_be_refused(body: bytes) -> None:
    parser = ExpositionParser("new")
    with pytest.raises(InvalidExposition):
        parser.feed(REQUESTS.encode() + b"{" + body)
        parser.finish()


@pytest.mark.parametrize("part", ["\\", 'a="b",', '"', "{", 'a="\\', ",", "a="])
def test_hostile_lines_take_linear_time(part: str) -> None:
    """A megabyte of the worst lines takes no longer than a bound far above linear time."""
    bad = (REQUESTS + "{" + part * (4000 // len(part)))[: MAX_LINE_BYTES - 1]
    begun = time.process_time()
    for _ in range(250):
        parser = ExpositionParser("new")
        with pytest.raises(InvalidExposition):
            parser.feed(bad.encode() + b"\n")
            parser.finish()
    assert time.process_time() - begun < 10
