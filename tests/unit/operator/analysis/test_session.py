"""The looks at a step: what is counted, what is said of it, and how often that is wrong."""

from __future__ import annotations

import random
from dataclasses import replace
from typing import Any

import pytest

from mlflow_model_operator.analysis import Reading, Session
from mlflow_model_operator.analysis.session import MAX_LOOKS
from mlflow_model_operator.rollout.progress import Verdict
from tests.unit.operator.analysis.expositions import exposition
from tests.unit.operator.analysis.steps import (
    STEP,
    Looks,
    both,
    measurement,
    pod,
    reading,
    silent,
)

GOOD, BAD, INCONCLUSIVE = Verdict.GOOD, Verdict.BAD, Verdict.INCONCLUSIVE


# What is counted


def test_what_was_counted_before_the_step_does_not_count() -> None:
    report = Looks().since_start({200: 500}, {200: 4500})
    assert (report.target_requests, report.stable_requests) == (500, 4500)
    assert report.observed_weight == 10
    assert report.verdict is GOOD


def test_a_container_that_was_restarted_counts_from_zero() -> None:
    looks = Looks()
    looks.since_start({200: 500}, {200: 4500})
    again = pod("new", {200: 100}, started=2000.0)
    report = looks.look(reading(again, pod("old", {200: 1_005_000, 500: 9000})))
    assert (report.target_requests, report.resets) == (600, 1)


def test_a_counter_that_goes_back_has_begun_again() -> None:
    looks = Looks()
    looks.since_start({200: 500}, {200: 4500})
    report = looks.look(both({200: 30}, {200: 1_005_000, 500: 9000}))
    assert (report.target_requests, report.resets) == (530, 1)


def test_a_pod_that_has_come_since_counts_from_zero() -> None:
    looks = Looks()
    old = pod("old", {200: 1_000_000, 500: 9000})
    report = looks.look(reading(pod("new", {200: 7}), pod("new", {200: 50}, "new-2"), old))
    assert report.target_requests == 50


def test_a_pod_that_goes_has_counted_what_it_had() -> None:
    looks = Looks()
    looks.since_start({200: 500}, {200: 4500})
    report = looks.look(reading(pod("old", {200: 1_005_000, 500: 9000})))
    assert (report.target_requests, report.stable_requests) == (500, 5000)


def test_a_pod_that_answers_late_counts_from_then() -> None:
    session = Session(measurement())
    session.look(0, reading(silent("old", "old-1"), pod("new", {200: 7})))
    first = session.look(30, both({200: 107}, {200: 1_000_000, 500: 9000}))
    assert first is not None and (first.target_requests, first.stable_requests) == (100, 0)
    second = session.look(60, both({200: 207}, {200: 1_000_100, 500: 9000}))
    assert second is not None and (second.target_requests, second.stable_requests) == (200, 100)


def test_a_pod_that_is_not_listed_for_once_does_not_count_from_zero() -> None:
    looks = Looks()
    looks.look(reading(pod("new", {200: 107})))
    report = looks.since_start({200: 200}, {200: 1000})
    assert (report.target_requests, report.stable_requests) == (200, 1000)


def test_where_no_pod_could_be_listed_nothing_is_known_and_nothing_is_lost() -> None:
    looks = Looks()
    looks.since_start({200: 500}, {200: 4500})
    report = looks.look(Reading(problem="the pods can't be listed: 403 Forbidden"))
    assert (report.verdict, report.message) == (
        INCONCLUSIVE,
        "the pods can't be listed: 403 Forbidden",
    )
    assert looks.since_start({200: 600}, {200: 5400}).target_requests == 600


def test_a_window_does_not_begin_before_pods_were_listed() -> None:
    session = Session(measurement())
    report = session.look(0, Reading(problem="no answer"))
    assert report is not None and report.verdict is INCONCLUSIVE
    assert session.look(30, both({200: 107}, {200: 500})) is None
    report = session.look(60, both({200: 108}, {200: 509}))
    assert report is not None and report.target_requests == 1


def test_an_old_look_is_forgotten() -> None:
    looks = Looks()
    for look in range(1, MAX_LOOKS + 11):
        report = looks.since_start({200: 10 * look}, {200: 90 * look})
    assert (report.target_requests, report.started_at) == (10 * MAX_LOOKS, 1000 + 10 * 30)


def test_of_the_same_numbers_none_is_tested_twice() -> None:
    looks = Looks()
    tests = [looks.since_start({200: 500}, {200: 4500}).tests for _ in range(3)]
    assert tests == [1, 1, 1]
    assert looks.since_start({200: 501}, {200: 4500}).tests == 2


# What is said of it


def test_a_version_that_fails_is_bad_with_figures() -> None:
    report = Looks().since_start({200: 875, 500: 37}, {200: 8086, 500: 16})
    assert report.verdict is BAD
    assert report.message == (
        "errors 4.06 % of 912 requests, stable 0.197 % of 8,102 (beyond maxIncrease 1)"
    )


def test_timeouts_and_clients_that_give_up_are_errors_and_refusals_are_not() -> None:
    for code, verdicts in (
        (504, [BAD, GOOD]),
        (499, [BAD, GOOD]),
        (422, [GOOD, BAD]),
        (429, [GOOD, BAD]),
    ):
        report = Looks().since_start({200: 450, code: 50}, {200: 4500})
        assert [metric.verdict for metric in report.metrics] == verdicts


def test_refusals_are_a_metric_of_their_own() -> None:
    """A model that raises an exception is answered with 400, as MLflow does."""
    report = Looks().since_start({200: 450, 400: 50}, {200: 4500, 400: 10})
    assert report.verdict is BAD
    assert [(m.name, m.verdict) for m in report.metrics] == [
        ("errors", GOOD),
        ("clientErrors", BAD),
    ]


def test_few_requests_say_nothing() -> None:
    report = Looks().since_start({500: 99}, {200: 900})
    assert report.verdict is INCONCLUSIVE
    assert "fewer than minRequests (100)" in report.message


def test_no_errors_in_few_requests_do_not_make_it_good() -> None:
    """Of 200 requests without an error, the rate may well be over one percent."""
    assert Looks().since_start({200: 200}, {200: 1800}).verdict is INCONCLUSIVE
    assert Looks().since_start({200: 400}, {200: 3600}).verdict is GOOD


def test_without_requests_to_stable_there_is_nothing_to_compare_with() -> None:
    assert Looks().since_start({200: 990, 500: 10}, {}).verdict is INCONCLUSIVE
    absolute: dict[str, Any] = {"errors": {"maxPercent": 5}}
    assert Looks(**absolute).since_start({200: 990, 500: 10}, {}).verdict is GOOD
    assert Looks(**absolute).since_start({200: 800, 500: 200}, {}).verdict is BAD


def test_with_all_requests_the_last_of_the_step_before_count_for_stable() -> None:
    first = Looks()
    first.since_start({200: 500}, {200: 4500})
    session = Session(measurement(weight=100), first.session.stable_window)
    session.look(0, both({200: 507}, {200: 1_004_500, 500: 9000}))
    report = session.look(30, both({200: 1507}, {200: 1_004_500, 500: 9000}))
    assert report is not None and (report.verdict, report.stable_requests) == (GOOD, 4500)
    alone = Looks(weight=100).since_start({200: 980, 500: 20}, {})
    assert alone.verdict is INCONCLUSIVE


def test_a_pod_that_cannot_be_read_leaves_it_open_whether_it_is_good_not_whether_it_is_bad() -> (
    None
):
    old = pod("old", {200: 1_004_500, 500: 9000})
    looks = Looks()
    report = looks.look(reading(pod("new", {200: 507}), silent("new", "new-2"), old))
    assert (report.verdict, report.unreachable_count) == (INCONCLUSIVE, 1)
    assert report.unreachable_reason == "pod new-2: its metrics port can't be reached"
    report = looks.look(reading(pod("new", {200: 507, 500: 100}), silent("new", "new-2"), old))
    assert report.verdict is BAD
    report = Looks().look(reading(pod("new", {200: 507}), old, silent("old", "old-2")))
    assert (report.verdict, report.unreachable_count) == (GOOD, 1)


def test_as_many_looks_as_the_limit_says_may_be_bad() -> None:
    looks = Looks(failureLimit=1)
    first = looks.since_start({200: 400, 500: 100}, {200: 4500})
    assert (first.verdict, first.failures) == (INCONCLUSIVE, 1)
    assert "bad at 1 checks, failureLimit is 1" in first.message
    assert looks.since_start({200: 500, 500: 110}, {200: 5400}).verdict is BAD


def test_an_operator_that_comes_after_another_goes_on_counting() -> None:
    session = Session(replace(measurement(failureLimit=2), tests=7, failures=2))
    session.look(0, both({200: 7}, {200: 7}))
    report = session.look(30, both({200: 407, 500: 100}, {200: 4507}))
    assert report is not None and (report.verdict, report.tests, report.failures) == (BAD, 8, 3)
    assert report.step == STEP


FAST, SLOW = {0.05: 900, 0.1: 100}, {0.05: 200, 0.1: 300, 0.5: 500}


def timed(target: dict[float, int], stable: dict[float, int]) -> Reading:
    return reading(
        pod("new", {200: 7 + sum(target.values())}, durations=target),
        pod("old", {200: 1_000_000 + sum(stable.values()), 500: 9000}, durations=stable),
    )


@pytest.mark.parametrize(
    ("limits", "durations", "verdict"),
    [
        ({"percentile": 95, "max": "100ms"}, FAST, GOOD),
        ({"percentile": 95, "max": "100ms"}, SLOW, BAD),
        ({"percentile": 95, "max": "75ms"}, FAST, INCONCLUSIVE),
        ({"percentile": 95, "maxRatio": 2}, FAST, GOOD),
        ({"percentile": 95, "maxRatio": 2}, SLOW, BAD),
        ({"percentile": 50, "max": "1s", "maxRatio": 2}, SLOW, BAD),
        ({"percentile": 50, "max": "1s", "maxRatio": 20}, SLOW, GOOD),
    ],
)
def test_latency_is_limited_by_itself_and_by_stables(
    limits: dict[str, Any], durations: dict[float, int], verdict: Verdict
) -> None:
    report = Looks(latency=[limits]).look(timed(durations, FAST))
    assert report.metrics[-1].verdict is verdict, report.metrics


AGES = {60.0: 100, 3600.0: 900}


@pytest.mark.parametrize(
    ("limits", "ages", "verdict"),
    [
        ({"maxAge": "1h"}, AGES, GOOD),
        ({"maxAge": "30m"}, AGES, BAD),
        ({"percentile": 5, "maxAge": "5m"}, AGES, GOOD),
        ({"maxAge": "1h"}, {86400.0: 1000}, BAD),
        ({"maxAge": "1h"}, {60.0: 99}, INCONCLUSIVE),  # fewer rows than minRequests
        ({"maxAge": "1h"}, {}, INCONCLUSIVE),
    ],
)
def test_the_age_of_features_is_limited(
    limits: dict[str, Any], ages: dict[float, int], verdict: Verdict
) -> None:
    target = pod("new", {200: 1007}, ages=ages)
    stable = pod("old", {200: 1_001_000, 500: 9000}, ages={60.0: 1000})
    report = Looks(staleness=limits).look(reading(target, stable))
    assert report.metrics[-1].verdict is verdict, report.metrics
    assert report.metrics[-1].name == f"staleness p{limits.get('percentile', 95)}"


def test_the_age_of_features_is_stated_with_both_values() -> None:
    target = pod("new", {200: 1007}, ages={86400.0: 1000})
    stable = pod("old", {200: 1_001_000, 500: 9000}, ages={60.0: 1000})
    report = Looks(staleness={"maxAge": "1h"}).look(reading(target, stable))
    assert report.metrics[-1].message == (
        "staleness p95 22h51m of 1,000 rows, stable 57s (beyond maxAge 1h)"
    )


def test_latency_is_told_with_both_values() -> None:
    report = Looks(latency=[{"percentile": 50, "maxRatio": 2}]).look(timed(SLOW, FAST))
    metric = report.metrics[-1]
    assert metric.name == "latency p50"
    assert metric.message.startswith("latency p50 100 ms of 1,000 requests, stable ")
    assert metric.message.endswith("(beyond maxRatio 2)")


def predicted(target: dict[str, int], stable: dict[str, int]) -> Reading:
    return reading(
        pod("new", {200: 1007}, bins=target), pod("old", {200: 1_009_000, 500: 9000}, bins=stable)
    )


@pytest.mark.parametrize(
    ("target", "stable", "verdict"),
    [
        ({"(-inf,5]": 500, "(5,inf)": 500}, {"(-inf,5]": 500, "(5,inf)": 500}, GOOD),
        ({"(-inf,5]": 900, "(5,inf)": 100}, {"(-inf,5]": 500, "(5,inf)": 500}, BAD),
        # Only the edge 5 is both's.
        (
            {"(-inf,3]": 400, "(3,5]": 500, "(5,inf)": 100},
            {"(-inf,5]": 500, "(5,7]": 300, "(7,inf)": 200},
            BAD,
        ),
        ({"(-inf,3]": 500, "(3,inf)": 500}, {"(-inf,5]": 500, "(5,inf)": 500}, INCONCLUSIVE),
        ({"red": 900, "(other)": 100}, {"red": 100, "white": 700, "(other)": 200}, BAD),
        ({"red": 500, "(other)": 500}, {"red": 500, "white": 300, "(other)": 200}, GOOD),
        ({"red": 500, "(other)": 500}, {"white": 500, "(other)": 500}, INCONCLUSIVE),
        ({"red": 500, "(other)": 500}, {"(-inf,5]": 500, "(5,inf)": 500}, INCONCLUSIVE),
        ({"(-inf,5]": 0, "(5,inf)": 0}, {"(-inf,5]": 500, "(5,inf)": 500}, INCONCLUSIVE),
        ({"red": 30, "(other)": 3}, {"red": 500, "(other)": 500}, INCONCLUSIVE),
        ({"red": 400, "(missing)": 600}, {"red": 1000, "(missing)": 0}, BAD),
    ],
)
def test_predictions_are_compared_on_the_bins_that_both_have(
    target: dict[str, int], stable: dict[str, int], verdict: Verdict
) -> None:
    report = Looks(predictions={}).look(predicted(target, stable))
    metric = report.metrics[-1]
    assert metric.verdict is verdict, metric


def test_without_any_predictions_nothing_is_known() -> None:
    report = Looks(predictions={}).since_start({200: 1000}, {200: 9000})
    assert report.metrics[-1].message == "predictions: none counted yet"


QUERY = {"name": "cost", "url": "http://prometheus:9090", "query": "cost"}


@pytest.mark.parametrize(
    ("limits", "value", "verdict"),
    [
        ({"max": 5}, 5.0, GOOD),
        ({"max": 5}, 5.1, BAD),
        ({"min": 1, "max": 5}, 0.5, BAD),
        ({"min": 1}, 9.0, GOOD),
        ({"min": 1}, "the query has 0 values as result: it must have one", INCONCLUSIVE),
    ],
)
def test_the_value_of_a_query_must_be_within_its_limits(
    limits: dict[str, float], value: float | str, verdict: Verdict
) -> None:
    looks = Looks(queries=[{**QUERY, **limits}])
    report = looks.since_start({200: 1000}, {200: 9000}, cost=value)
    assert report.verdict is verdict
    assert "query cost" in report.message


# How often it is wrong


def rollout_ends_bad(
    rng: random.Random, target_rate: float, stable_rate: float, **analysis: Any
) -> tuple[bool, bool]:
    """Whether a step of twelve looks turns the target back; whether it is good at the end."""
    looks = Looks(minRequests=50, **analysis)
    failed = {"target": 0, "stable": 0}
    for look in range(1, 13):
        failed["target"] += sum(rng.random() < target_rate for _ in range(50))
        failed["stable"] += sum(rng.random() < stable_rate for _ in range(450))
        report = looks.since_start(
            {200: 50 * look - failed["target"], 500: failed["target"]},
            {200: 450 * look - failed["stable"], 500: failed["stable"]},
        )
        if report.verdict is BAD:
            return True, False
    return False, report.verdict is GOOD


@pytest.mark.parametrize("stable_rate", [0.002, 0.05])
@pytest.mark.parametrize("increase", [0.0, 0.01])
def test_good_versions_are_turned_back_no_more_often_than_stated(
    stable_rate: float, increase: float
) -> None:
    """Over all looks together, also where the version is as bad as is allowed."""
    rng = random.Random(4)
    alarms = sum(rollout_ends_bad(rng, stable_rate + increase, stable_rate)[0] for _ in range(60))
    assert alarms / 60 <= 0.05 + 3 * (0.05 * 0.95 / 60) ** 0.5


def test_bad_versions_are_called_good_no_more_often_than_stated() -> None:
    rng = random.Random(5)
    goods = sum(rollout_ends_bad(rng, 0.022, 0.01)[1] for _ in range(60))
    assert goods / 60 <= 0.05 + 3 * (0.05 * 0.95 / 60) ** 0.5


@pytest.mark.parametrize(("rate", "power"), [(0.1, 0.95), (0.05, 0.7)])
def test_bad_versions_are_turned_back(rate: float, power: float) -> None:
    rng = random.Random(6)
    detected = sum(rollout_ends_bad(rng, rate, 0.002)[0] for _ in range(60))
    assert detected / 60 >= power


def test_the_pods_that_the_tests_read_are_those_of_a_scoring_server() -> None:
    assert exposition("new", {200: 1}).samples
