"""The status as a whole: kept times, smallest patches, events that are recorded once."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlflow_model_operator.api.model_version import ResolutionError
from mlflow_model_operator.api.reasons import Reason
from mlflow_model_operator.kube.gateway import gateway_state
from mlflow_model_operator.kube.objects import LiveChildren
from mlflow_model_operator.plan import Resolution, RevisionNames, make_plan
from mlflow_model_operator.rollout import Decision, Phase
from mlflow_model_operator.settings import Settings
from mlflow_model_operator.status import Snapshot, events, invalid_status, status, status_patch
from tests.unit.operator.status.pods import V3, V4, Json, decision, deployment, resource, snapshot


def merged(old: Any, patch: Any) -> Any:
    """RFC 7396, to the letter."""
    if not isinstance(patch, dict):
        return patch
    result = dict(old) if isinstance(old, dict) else {}
    for name, value in patch.items():
        if value is None:
            result.pop(name, None)
        else:
            result[name] = merged(result.get(name), value)
    return result


values = st.recursive(
    st.booleans() | st.integers() | st.text(max_size=5) | st.lists(st.integers(), max_size=3),
    lambda inner: st.dictionaries(st.text(min_size=1, max_size=3), inner, max_size=4),
    max_leaves=10,
)
statuses = st.dictionaries(st.sampled_from("abcdef"), values, max_size=5)


@given(statuses, statuses)
def test_a_patch_turns_the_old_status_into_the_new_status(old: Json, new: Json) -> None:
    patch = status_patch(old, new)
    assert merged(old, patch or {}) == new


@given(statuses)
def test_equal_statuses_need_no_patch(old: Json) -> None:
    assert status_patch(old, dict(old)) is None


def test_the_same_situation_later_gives_the_same_status() -> None:
    first = status(snapshot(decision(), deployment(V3, 1)))
    later = snapshot(decision(), deployment(V3, 1), of=resource(status=first))
    again = status(later)
    assert status_patch(first, again) is None


def test_a_changed_condition_gets_a_new_time_and_others_keep_theirs() -> None:
    old = status(snapshot(decision(phase=Phase.STARTING), deployment(V3)))
    for entry in old["conditions"]:
        entry["lastTransitionTime"] = "2020-01-01T00:00:00Z"
    new = status(snapshot(decision(), deployment(V3, 1), of=resource(status=old)))
    times = {entry["type"]: entry["lastTransitionTime"] for entry in new["conditions"]}
    assert times["Available"] == "2023-11-14T22:13:20Z"
    assert times["ModelResolved"] == "2020-01-01T00:00:00Z"


def test_the_status_holds_all_that_a_restarted_operator_needs() -> None:
    new = status(snapshot(decision(V3, target=V4, phase=Phase.UPDATING), deployment(V3, 1)))
    assert new["observedGeneration"] == 7
    assert new["stable"] == {
        "revision": "wine-3",
        "modelVersion": "3",
        "modelUri": "models:/wine/3",
        "requestedUri": "models:/wine@champion",
        "trackingUri": "http://m",
        "readyReplicas": 1,
    }
    assert new["traffic"] == [{"revision": "wine-3", "modelVersion": "3", "weight": 100}]
    assert new["rollout"]["revision"] == "wine-4"
    assert new["target"]["modelUri"] == "models:/wine/4"


def test_a_stable_revision_is_no_target_of_an_update() -> None:
    assert "target" not in status(snapshot(decision(), deployment(V3, 1)))


def test_a_resource_that_can_not_be_parsed_keeps_earlier_decisions() -> None:
    raw = {"metadata": {"generation": 2}, "status": {"stable": {"revision": "wine-3"}}}
    new = invalid_status(raw, "spec.model.uri: write …", now=0.0)
    assert new["stable"] == {"revision": "wine-3"}
    assert new["conditions"][0]["reason"] == "InvalidSpec"


def test_a_good_start_has_a_single_event() -> None:
    starting = snapshot(decision(phase=Phase.STARTING), deployment(V3))
    first = status(starting)
    assert events({}, first, starting) == []
    serving = snapshot(decision(), deployment(V3, 1))
    second = status(serving)
    assert [entry.reason for entry in events(first, second, serving)] == ["Serving"]
    assert events(second, status(serving), serving) == []


def test_a_failure_has_a_single_event_though_several_conditions_share_it() -> None:
    broken = snapshot(None, resolution=ResolutionError(Reason.MODEL_NOT_FOUND, "no"))
    new = status(broken)
    recorded = events({}, new, broken)
    assert [(entry.reason, entry.warning) for entry in recorded] == [("ModelNotFound", True)]
    assert events(new, new, broken) == []


def test_a_new_version_and_its_takeover_have_events() -> None:
    old = status(snapshot(decision(), deployment(V3, 1)))
    updating = snapshot(
        decision(V3, target=V4, phase=Phase.UPDATING), deployment(V3, 1), deployment(V4)
    )
    middle = status(updating)
    assert [entry.reason for entry in events(old, middle, updating)] == ["NewRevision"]
    done = snapshot(decision(V4, phase=Phase.DRAINING, draining={"wine-3": 1.0}), deployment(V4, 1))
    assert [entry.reason for entry in events(middle, status(done), done)] == ["TrafficMoved"]


def test_a_rollback_has_an_event_of_its_own() -> None:
    draining = decision(V4, phase=Phase.DRAINING, draining={"wine-3": 1.0})
    moved = status(snapshot(draining, deployment(V3, 1), deployment(V4, 1)))
    back = snapshot(
        decision(V3, phase=Phase.DRAINING, draining={"wine-4": 2.0}),
        deployment(V3, 1),
        deployment(V4, 1),
    )
    assert [entry.reason for entry in events(moved, status(back), back)] == ["RolledBack"]


def test_a_cancelled_update_has_an_event() -> None:
    updating = decision(V3, target=V4, phase=Phase.UPDATING)
    middle = status(snapshot(updating, deployment(V3, 1), deployment(V4)))
    given_up = snapshot(decision(), deployment(V3, 1))
    recorded = events(middle, status(given_up), given_up)
    assert [entry.reason for entry in recorded] == ["RolledBack"]
    assert (
        "Rollout of wine-4 cancelled: version 3 (wine-3) keeps the traffic" in recorded[0].message
    )


def test_a_revision_that_has_drained_has_an_event() -> None:
    draining = decision(V4, phase=Phase.DRAINING, draining={"wine-3": 1.0})
    before = status(snapshot(draining, deployment(V3, 1), deployment(V4, 1)))
    done = snapshot(decision(V4), deployment(V4, 1))
    assert [entry.reason for entry in events(before, status(done), done)] == ["Drained"]


@pytest.mark.parametrize(
    ("before", "after"),
    [
        # The canary's weight went to 0: it stays, without requests.
        (decision(V3, canary=V4, draining={"wine-4": 1.0}), decision(V3, canary=V4)),
        # The canary's weight went to 100: the stable revision stays.
        (
            decision(V3, canary=V4, weight=100, draining={"wine-3": 1.0}),
            decision(V3, canary=V4, weight=100),
        ),
        # An alias moved forth, back and forth again: the revision is the target anew.
        (
            decision(V3, draining={"wine-4": 1.0}),
            decision(V3, target=V4, phase=Phase.UPDATING),
        ),
    ],
)
def test_a_revision_that_loses_its_traffic_and_stays_is_not_reported_as_removed(
    before: Decision, after: Decision
) -> None:
    of = resource(canary={"uri": "models:/wine@challenger", "weight": 0})
    live = deployment(V3, 1), deployment(V4, 1)
    old = status(snapshot(before, *live, of=of, canary_resolution=V4.model))
    done = snapshot(after, *live, of=of, canary_resolution=V4.model)
    assert "Drained" not in [event.reason for event in events(old, status(done), done)]


def test_a_drained_revision_leaves_nothing_in_the_status() -> None:
    draining = decision(V4, phase=Phase.DRAINING, draining={"wine-3": 1.0})
    before = status(snapshot(draining, deployment(V3, 1), deployment(V4, 1)))
    after = status(snapshot(decision(V4), deployment(V4, 1)))
    patch = status_patch(before, after)
    assert patch is not None
    assert patch["draining"] is None


def test_a_canary_has_a_single_event_when_it_gets_its_share() -> None:
    with_canary = resource(canary={"uri": "models:/wine@challenger", "weight": 10})
    old = status(snapshot(decision(), deployment(V3, 9, 9)))
    started = snapshot(
        decision(V3, canary=V4, weight=10),
        deployment(V3, 9, 9),
        deployment(V4, 1),
        of=with_canary,
        canary_resolution=V4.model,
    )
    new = status(started)
    recorded = events(old, new, started)
    assert [(entry.reason, entry.warning) for entry in recorded] == [("CanaryStarted", False)]
    assert "Version 4 (wine-4) gets 10 % of the requests" in recorded[0].message
    assert events(new, new, started) == []


@given(st.text(st.characters(exclude_categories=["Cs"]), min_size=900, max_size=1500))
def test_an_event_is_never_longer_than_the_api_server_takes(words: str) -> None:
    broken = snapshot(None, resolution=ResolutionError(Reason.MODEL_NOT_FOUND, words))
    (event,) = events({}, status(broken), broken)
    assert len(event.message.encode()) <= 1024


def test_reasons_are_plain_text_for_whatever_writes_them() -> None:
    new = status(snapshot(None, resolution=ResolutionError(Reason.MODEL_NOT_FOUND, "no")))
    assert {type(entry["reason"]) for entry in new["conditions"]} == {str}
    assert type(invalid_status({"metadata": {}}, "no", now=0.0)["conditions"][0]["reason"]) is str


@pytest.mark.parametrize(
    ("routing", "url"),
    [
        ({}, "http://wine.models.svc/invocations"),
        ({"gateway": {"name": "g"}}, "http://wine.models.svc/invocations"),
        (
            {"gateway": {"name": "g"}, "hostnames": ["a.example.com", "b.example.com"]},
            "http://a.example.com/invocations",
        ),
        (
            {"gateway": {"name": "g"}, "hostnames": ["*.example.com", "b.example.com"]},
            "http://b.example.com/invocations",
        ),
        (
            {"gateway": {"name": "g"}, "hostnames": ["*.example.com"]},
            "http://wine.models.svc/invocations",
        ),
        (
            {"gateway": {"name": "g"}, "hostnames": ["a.example.com"], "path": "/wine"},
            "http://a.example.com/wine/invocations",
        ),
    ],
)
def test_the_url_accepts_requests(routing: Json, url: str) -> None:
    gateway = gateway_state(gateway_with(listener()))
    given = snapshot(decision(), deployment(V3, 1), of=resource(routing=routing), gateway=gateway)
    assert status(given)["url"] == url


def listener(protocol: str = "HTTP", port: int = 80, **fields: str) -> Json:
    return {"name": "a", "protocol": protocol, "port": port, **fields}


def gateway_with(*listeners: Json) -> Json:
    return {"metadata": {"name": "g", "generation": 1}, "spec": {"listeners": list(listeners)}}


@pytest.mark.parametrize(
    ("listeners", "url"),
    [
        ([listener(port=8085)], "http://a.example.com:8085/invocations"),
        ([listener("HTTPS", 443)], "https://a.example.com/invocations"),
        ([listener("HTTPS", 8443)], "https://a.example.com:8443/invocations"),
        ([listener(), listener("HTTPS", 443)], "https://a.example.com/invocations"),
        (
            [listener(), listener("HTTPS", 443, hostname="b.example.com")],
            "http://a.example.com/invocations",
        ),
        (
            [listener("HTTPS", 443, hostname="*.example.com")],
            "https://a.example.com/invocations",
        ),
        ([listener("TLS", 443), listener(hostname="b.example.com")], None),
    ],
)
def test_the_url_has_the_listeners_scheme_and_port(listeners: list[Json], url: str | None) -> None:
    routing = {"gateway": {"name": "g"}, "hostnames": ["a.example.com"]}
    gateway = gateway_state(gateway_with(*listeners))
    given = snapshot(decision(), deployment(V3, 1), of=resource(routing=routing), gateway=gateway)
    assert status(given).get("url") == url


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("https://a.example.com:8443/invocations", "https://a.example.com:8443/invocations"),
        ("https://b.example.com/invocations", None),
        ("https://a.example.com/wine/invocations", None),
        (None, None),
    ],
)
def test_until_the_gateway_is_looked_up_the_url_stays(
    before: str | None, after: str | None
) -> None:
    routing = {"gateway": {"name": "g"}, "hostnames": ["a.example.com"]}
    given = resource(status={"url": before} if before else {}, routing=routing)
    new = status(snapshot(decision(), deployment(V3, 1), of=given, gateway=None))
    assert new.get("url") == after


def test_pods_that_are_going_are_not_counted() -> None:
    going = deployment(V4, 3, 3)
    going["metadata"]["deletionTimestamp"] = "2026-01-01T00:00:00Z"
    assert status(snapshot(decision(), deployment(V3, 1, 2), going))["replicas"] == 2


def test_an_autoscaler_at_work_changes_the_numbers_only() -> None:
    scaling = {"minReplicas": 1, "maxReplicas": 3}
    before = status(snapshot(decision(), deployment(V3, 1), of=resource(scaling=scaling)))
    after = status(
        snapshot(decision(), deployment(V3, 1, 2), of=resource(status=before, scaling=scaling))
    )
    assert status_patch(before, after) == {"replicas": 2}


@pytest.mark.parametrize(("ready", "shown"), [(0, "Starting"), (1, "Stable")])
@pytest.mark.parametrize("decided", [Phase.STARTING, Phase.STABLE])
def test_the_phase_follows_the_pods_not_the_earlier_decision(
    decided: Phase, ready: int, shown: str
) -> None:
    new = status(snapshot(decision(phase=decided), deployment(V3, ready)))
    assert new["rollout"]["phase"] == shown


def test_a_good_start_takes_two_writes() -> None:
    """By the decisions that the operator really takes, one after the other."""
    settings = Settings(scoring_images={"3.11": "scoring:3.11"})
    names = RevisionNames(settings)
    live, writes = LiveChildren(), 0
    old: Json = {}
    for ready in (0, 0, 0, 1, 1):
        parsed = resource(status=old)
        plan = make_plan(parsed, Resolution(V3.model), live, names, settings, 1000.0)
        assert plan is not None
        # The objects are applied between the decision and the status.
        revision = plan.decision.stable
        live = LiveChildren(deployments={revision.name: deployment(revision, ready)})
        new = status(Snapshot(parsed, V3.model, None, plan.decision, live, (), 1000.0))
        writes += status_patch(old, new) is not None
        old = new
    assert writes == 2
