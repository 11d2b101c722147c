"""What the pods of the stable revision say of the copies that they send, and how that is judged."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import pytest

from mlflow_model_operator.analysis import (
    Exposition,
    PodReading,
    Reading,
    Report,
    Session,
    ShadowCounts,
    ShadowMeasurement,
    shadow_report,
)
from mlflow_model_operator.analysis.exposition import InvalidExposition
from mlflow_model_operator.analysis.shadow import shadow_growth
from mlflow_model_operator.rollout.progress import Verdict
from tests.unit.operator.analysis.expositions import parsed, text
from tests.unit.operator.analysis.steps import KEY, measurement, reading, silent

PREFIX = "mlflow_model_server_shadow"


def sender(
    rows: int = 0,
    disagreed: int = 0,
    errors: int = 0,
    error_sum: float = 0.0,
    shadow: str = "new",
    started: float = 1000.0,
    dropped: int = 0,
) -> Exposition:
    """A pod of the stable revision that sends copies, each of one row."""
    labels = f'model="wine",version="1",revision="old",shadow_revision="{shadow}"'
    lines = [f'{PREFIX}_info{{{labels},shadow_version="2"}} 1']
    outcomes = {"ok": rows, "error": errors, "timeout": 0, "unreachable": 0, "dropped": dropped}
    lines += [
        f'{PREFIX}_requests_total{{{labels},outcome="{outcome}"}} {count}'
        for outcome, count in outcomes.items()
    ]
    sums = {
        "compared_rows_total": rows,
        "disagreed_rows_total": disagreed,
        "numeric_rows_total": rows,
        "absolute_error_total": error_sum,
    }
    lines += [f"{PREFIX}_{name}{{{labels}}} {value}" for name, value in sums.items()]
    lines += [
        f'{PREFIX}_duration_seconds_bucket{{{labels},le="{bound}"}} {rows}'
        for bound in ("0.05", "0.1", "+Inf")
    ]
    return parsed("\n".join([*lines, text("old", {200: 7}, started=started)]), "old")


def pod(name: str, **counts: Any) -> PodReading:
    return PodReading(name, "old", sender(**counts))


def report_of(*pods: PodReading) -> Report:
    """A step with a shadow, whose pods had counted nothing before."""
    return judged({"maxDisagreementPercent": 5}, *pods)


def judged(limits: dict[str, float] | None, *pods: PodReading) -> Report:
    analysis: dict[str, Any] = {"shadow": limits} if limits else {}
    session = Session(replace(measurement(0, **analysis), is_shadow=True))
    start = [PodReading(entry.uid, "old", sender()) for entry in pods]
    assert session.look(1000.0, reading(*start)) is None
    report = session.look(1030.0, reading(*pods))
    assert report is not None
    return report


def test_pods_that_send_copies_are_summed_up() -> None:
    asked = ShadowMeasurement(KEY, "old", "new", 30.0)
    seen = Reading(
        (
            pod("a", rows=90, disagreed=9, errors=10, error_sum=1.5, dropped=3),
            pod("b", rows=10, disagreed=1, error_sum=0.5),
            pod("c", rows=1000, shadow="another"),
            silent("old", "d"),
        )
    )
    report = shadow_report(asked, 1000.0, seen)
    assert (report.senders, report.unreachable_count) == (2, 1)
    assert "its metrics port can't be reached" in report.unreachable_reason
    counts = report.counts
    assert (counts.requests, counts.errors, counts.dropped) == (110, 10, 3)
    assert (counts.disagreement, counts.mean_absolute_error) == (0.1, 0.02)
    assert counts.latency_p95 is not None and 0 < counts.latency_p95 <= 0.05


def test_where_no_pod_can_be_listed_nobody_sends_copies() -> None:
    asked = ShadowMeasurement(KEY, "old", "new", 30.0)
    report = shadow_report(asked, 1000.0, Reading(problem="the pods can't be listed"))
    assert (report.senders, report.unreachable_reason) == (0, "the pods can't be listed")
    assert report.counts.latency_p95 is report.counts.disagreement is None


def test_counters_of_copies_begin_again_with_each_shadow() -> None:
    before, now = sender(rows=100, disagreed=5), sender(rows=160, disagreed=6)
    grown = shadow_growth(before, now, "new")
    assert (grown.compared_rows, grown.disagreed_rows) == (60, 1)
    assert shadow_growth(None, now, "new").compared_rows == 160
    assert shadow_growth(now, sender(rows=20), "new").compared_rows == 20
    assert shadow_growth(sender(rows=9, shadow="other"), now, "new").compared_rows == 160


def test_a_shadow_that_begins_or_ends_resets_no_other_counter() -> None:
    given = measurement(10)
    session = Session(given)
    without = PodReading("a", "old", parsed(text("old", {200: 7}), "old"))
    assert session.look(1000.0, reading(without)) is None
    for at, seen in ((1030.0, pod("a", rows=5)), (1060.0, without)):
        report = session.look(at, reading(seen))
        assert report is not None
        assert (report.resets, report.stable_requests) == (0, 0)


def test_predictions_without_bounds_make_no_pod_unreadable() -> None:
    assert sender(rows=5, error_sum=math.inf).samples
    assert judged({"maxMeanAbsoluteError": 1}, pod("a", rows=500, error_sum=math.inf)).verdict is (
        Verdict.BAD
    )
    with pytest.raises(InvalidExposition):
        sender(rows=math.inf)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("disagreed", "verdict"),
    [(0, Verdict.GOOD), (10, Verdict.GOOD), (50, Verdict.INCONCLUSIVE), (120, Verdict.BAD)],
)
def test_disagreement_is_judged_with_confidence(disagreed: int, verdict: Verdict) -> None:
    report = report_of(pod("a", rows=600, disagreed=disagreed), pod("b", rows=400))
    assert report.verdict is verdict
    assert report.target_requests == 1000
    assert report.metrics[0].name == "disagreement"
    assert report.observed_weight is None


def test_few_copies_decide_nothing() -> None:
    report = report_of(pod("a", rows=50, disagreed=50))
    assert report.verdict is Verdict.INCONCLUSIVE
    assert "fewer than minRequests (100)" in report.message


def test_left_out_the_limits_are_those_of_errors() -> None:
    assert judged(None, pod("a", rows=1000)).verdict is Verdict.GOOD
    bad = judged(None, pod("a", rows=900, disagreed=900, errors=100))
    assert bad.verdict is Verdict.BAD
    assert "shadow errors 10 % of 1,000 copies (beyond maxErrorPercent 1)" in bad.message


@pytest.mark.parametrize(("error_sum", "verdict"), [(499.0, Verdict.GOOD), (501.0, Verdict.BAD)])
def test_a_mean_error_is_compared_as_it_is(error_sum: float, verdict: Verdict) -> None:
    limits = {"maxMeanAbsoluteError": 0.5}
    assert judged(limits, pod("a", rows=1000, error_sum=error_sum)).verdict is verdict


def test_a_pod_that_cannot_be_read_leaves_the_sample_smaller_and_no_more() -> None:
    report = report_of(pod("a", rows=1000), silent("old", "b"))
    assert report.verdict is Verdict.GOOD
    assert report.unreachable_count == 1


def test_nothing_counted_is_nothing() -> None:
    assert ShadowCounts() + ShadowCounts() == ShadowCounts()
