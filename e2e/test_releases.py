"""Releases of every kind under load, and what becomes of their requests: `make e2e-rollouts`.

Each writes its result, from which the table in docs/rollouts.md is made.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from dev import kube
from dev.traffic import under_load
from e2e.models import Facts
from e2e.releases.interruptions import (
    Interruption,
    OperatorKilled,
    TrackingServerGone,
    services_frozen,
)
from e2e.releases.released import ReleasedModel, given_a_released_model
from e2e.releases.results import Recorder
from e2e.releases.traffic import ReleaseLoad, then_no_request_failed, then_only_its_share_failed
from e2e.steps import (
    answer_of,
    given_a_tracking_server_of_its_own,
    then_condition,
    then_is_served,
    wait_for,
    when_a_person_says,
    when_the_spec_changes,
    when_the_tracking_server_is_back,
)
from e2e.steps.phases import phase_of, stable_of, then_the_phase_is, weights_of
from e2e.steps.then import SECONDS
from e2e.steps.when import when_the_api_server_is_restarted

pytestmark = pytest.mark.releases

Steps = list[dict[str, Any]]
STEPS: Steps = [{"weight": 20, "hold": "5s"}, {"weight": 50, "hold": "5s"}]
PAUSED_STEPS: Steps = [{"weight": 20, "hold": "5s"}, {"pause": {}}, {"weight": 50, "hold": "1s"}]
WEIGHT = 30
LONG_STEPS: Steps = [{"weight": WEIGHT, "hold": "1h"}]
JUDGED: dict[str, Any] = {"interval": "5s", "minRequests": 30}
LENIENT = {**JUDGED, "errors": {"maxPercent": 20}, "clientErrors": {"maxPercent": 20}}
COPIES = {"shadow": {"percent": 100}, "hold": "5s"}
LONG_COPIES: Steps = [{**COPIES, "hold": "1h"}, {"weight": 50}]
# The kubelet brings a changed ConfigMap to the pods within a minute and a half.
SHADOW_SECONDS = 300
SLOW_PERCENTILE = [{"percentile": 50, "maxRatio": 3}]
HEALTHY_SECONDS = 60
AUTOSCALED = {"minReplicas": 1, "maxReplicas": 2, "targetCPUUtilization": 60}
SEATS = "example.com/seats"  # of which the node has as many as a test says


@pytest.fixture(scope="module")
def the_model(shared_namespace: str, facts: Facts) -> list[ReleasedModel]:
    """The model that all tests release versions of; the list is empty where there is none yet."""
    return []


@pytest.fixture
def model(
    the_model: list[ReleasedModel], shared_namespace: str, facts: Facts
) -> Iterator[ReleasedModel]:
    """It serves, and nothing is under way; made again where a test has left it otherwise."""
    if not the_model:
        uri = given_a_tracking_server_of_its_own(shared_namespace)
        the_model.append(given_a_released_model(shared_namespace, facts, uri))
    model = the_model.pop()
    yield model
    when_the_tracking_server_is_back(shared_namespace)
    model.recall()
    model.given({"strategy": "direct"})  # other pod templates must not wait for steps
    the_model.append(model)


@pytest.fixture
def record() -> Recorder:
    return Recorder()


# Good versions


@pytest.mark.parametrize(
    ("name", "rollout"),
    [
        ("good release at once", {"strategy": "direct"}),
        ("good release in steps", {"steps": STEPS}),
        (
            "good release in steps, judged",
            {
                "steps": [{"weight": 50, "hold": "5s"}],
                "analysis": {**LENIENT, "latency": [{"percentile": 50, "max": "1s"}]},
            },
        ),
    ],
    ids=["at-once", "in-steps", "judged"],
)
def test_good(name: str, rollout: dict[str, Any], model: ReleasedModel, record: Recorder) -> None:
    model.given(rollout)
    before, version = model.answer, model.register()
    with model.under_load() as load:
        model.release(version, load)
        model.then_is_promoted(version, load)
    then_no_request_failed(load, [before, model.answer])
    record(name, load, "promoted")


def test_after_a_shadow(model: ReleasedModel, record: Recorder) -> None:
    # With an analysis, the first weight follows only when enough copies have been compared.
    analysis = {**LENIENT, "shadow": {"maxErrorPercent": 20}}
    model.given({"steps": [COPIES, *STEPS], "analysis": analysis})
    before, version = model.answer, model.register()
    with model.under_load() as load:
        model.release(version, load)
        wait_for(
            model.deployed,
            "the new version has its first weight",
            lambda: weights_of(model.deployed).get(str(version), 0) > 0,
            SHADOW_SECONDS,
        )
        model.then_is_promoted(version, load)
    then_no_request_failed(load, [before, model.answer])
    record("good release in steps, after a shadow", load, "promoted")


def test_paused_and_resumed(model: ReleasedModel, record: Recorder) -> None:
    model.given({"steps": PAUSED_STEPS})
    before, version = model.answer, model.register()
    with model.under_load() as load:
        model.release(version)
        then_the_phase_is(model.deployed, "Paused", version)
        answer = model.labels[version - 1]
        wait_for(model.deployed, "the new version answers", lambda: load.has_answer(answer))
        load.release_begins()
        when_a_person_says(model.deployed, "resume")
        model.then_is_promoted(version, load)
    then_no_request_failed(load, [before, model.answer])
    record("paused, and resumed by a user", load, "promoted")


def test_alias_moved_again_mid_rollout(model: ReleasedModel, record: Recorder) -> None:
    model.given({"steps": PAUSED_STEPS})
    before, first, second = model.answer, model.register(), model.register("3")
    with model.under_load() as load:
        model.release(first)
        then_the_phase_is(model.deployed, "Paused", first)
        model.release(second, load)
        then_the_phase_is(model.deployed, "Paused", second)
        assert weights_of(model.deployed) == {str(model.stable): 80, str(second): 20}
        when_a_person_says(model.deployed, "resume")
        model.then_is_promoted(second, load)
    then_no_request_failed(load, [before, model.labels[first - 1], model.answer])
    record("alias moved again at 20 %", load, "the last version promoted")


def test_alias_moved_back_mid_rollout(model: ReleasedModel, record: Recorder) -> None:
    model.given({"steps": PAUSED_STEPS})
    before, version = model.answer, model.register()
    with model.under_load() as load:
        model.release(version)
        then_the_phase_is(model.deployed, "Paused", version)
        model.release(model.stable, load)
        wait_for(
            model.deployed,
            "all traffic is back",
            lambda: weights_of(model.deployed) == {str(model.stable): 100},
        )
        load.is_decided()
        then_is_served(model.deployed, model.stable)
    then_no_request_failed(load, [before, model.labels[version - 1]])
    record("alias moved back at 20 %", load, "all requests back")


def test_autoscaler_scales_meanwhile(model: ReleasedModel, record: Recorder) -> None:
    model.given({"steps": PAUSED_STEPS}, scaling=AUTOSCALED)
    before, version = model.answer, model.register()
    with model.under_load(4) as load:
        model.release(version, load)
        then_the_phase_is(model.deployed, "Paused", version)
        pods = _ready_pods(model)
        with under_load(model.deployed.request, 30) as more:
            wait_for(model.deployed, "a pod is added", lambda: _ready_pods(model) > pods)
            when_a_person_says(model.deployed, "resume")
            model.then_is_promoted(version, load)
        load.gateway.answers += more.answers
        load.gateway.failures += more.failures
    then_no_request_failed(load, [before, model.answer])
    record("autoscaler adds pods at 20 %", load, "promoted")


# Bad versions


@pytest.mark.parametrize(
    ("name", "label", "analysis", "says"),
    [
        ("slow version", "slow", {"latency": SLOW_PERCENTILE}, "latency p50"),
        ("failing version", "failing", {}, "clientErrors 100 %"),
        ("drifting version", "", {"predictions": {"maxPsi": 0.25}}, "predictions"),
    ],
    ids=["slow", "failing", "drifting"],
)
def test_bad(
    name: str,
    label: str,
    analysis: dict[str, Any],
    says: str,
    model: ReleasedModel,
    record: Recorder,
) -> None:
    model.given({"steps": LONG_STEPS, "analysis": {**JUDGED, **analysis}})
    version = model.register(label)
    with model.under_load() as load:
        model.release(version, load)
        texts = [f"Version {version} ", "was rolled back", says]
        then_condition(model.deployed, "Progressing", "False", "AnalysisFailed", says=texts)
        load.is_decided()
        assert weights_of(model.deployed) == {str(model.stable): 100}
        then_only_the_stable_version_answers(model)
    if label == "failing":
        then_only_its_share_failed(load, WEIGHT)
        # The answers of its own code: the gateway has added none.
        assert all(text.startswith("400 ") for text in load.failures), load.failures[:5]
    else:
        then_no_request_failed(load, [model.answer, model.labels[version - 1]])
    record(name, load, f"rolled back from {WEIGHT} %")


def test_crashing_once_asked(model: ReleasedModel, record: Recorder) -> None:
    model.given({"steps": LONG_STEPS})
    version = model.register("fatal")
    with model.under_load() as load:
        model.release(version, load)
        then_condition(model.deployed, "Progressing", "False", "ContainerCrashed")
        load.is_decided()
        then_only_the_stable_version_answers(model)
    then_only_its_share_failed(load, WEIGHT)
    record("crashing version, once it has requests", load, f"rolled back from {WEIGHT} %")


def then_it_is_rolled_back(
    model: ReleasedModel, label: str, reason: str, seconds: float = SECONDS
) -> ReleaseLoad:
    """Releases such a version, which gets none of the requests, and none of these fails."""
    version = model.register(label)
    with model.under_load() as load:
        model.release(version, load)
        says = [f"Version {version} ", "was rolled back", f"Version {model.stable} is still served"]
        then_condition(model.deployed, "Progressing", "False", reason, says=says, seconds=seconds)
        load.is_decided()
        assert weights_of(model.deployed) == {str(model.stable): 100}
    then_no_request_failed(load, [model.answer])
    return load


@pytest.mark.parametrize(
    ("name", "label", "rollout", "reason"),
    [
        ("crashing version, while it loads", "crash", {"steps": STEPS}, "ModelLoadFailed"),
        (
            "input example fails",
            "unfit",
            {"steps": STEPS, "gates": {"inputExample": {}}},
            "InputExampleFailed",
        ),
    ],
    ids=["crashing", "input-example"],
)
def test_bad_before_its_first_weight(
    name: str,
    label: str,
    rollout: dict[str, Any],
    reason: str,
    model: ReleasedModel,
    record: Recorder,
) -> None:
    model.given(rollout)
    load = then_it_is_rolled_back(model, label, reason)
    record(name, load, "rolled back without a request")


@pytest.mark.parametrize(
    ("name", "label", "rollout", "reason"),
    [
        ("shadow crashes", "fatal", {"steps": LONG_COPIES}, "ContainerCrashed"),
        (
            "shadow never answers",
            "hanging",
            {"steps": LONG_COPIES, "analysis": JUDGED},
            "AnalysisFailed",
        ),
    ],
    ids=["crashing", "hanging"],
)
def test_bad_shadow(
    name: str,
    label: str,
    rollout: dict[str, Any],
    reason: str,
    model: ReleasedModel,
    record: Recorder,
) -> None:
    model.given(rollout)
    load = then_it_is_rolled_back(model, label, reason, SHADOW_SECONDS)
    record(name, load, "rolled back without a request")


# Room


@pytest.mark.parametrize(("seats", "surge"), [(2, 0), (3, 50)], ids=["none", "one-pod"])
def test_no_room(seats: int, surge: int, namespace: str, facts: Facts, record: Recorder) -> None:
    given_a_node_with(seats)
    uri = given_a_tracking_server_of_its_own(namespace)
    gpu = {"count": 1, "resource": SEATS}
    model = given_a_released_model(namespace, facts, uri, gpu=gpu, scaling={"minReplicas": 2})
    before, version = model.answer, model.register()
    with model.under_load() as load:
        model.release(version, load)
        says = [SEATS, f"Version {model.stable} is still served"]
        then_condition(model.deployed, "Progressing", "False", says=says)
        load.is_decided()
    then_no_request_failed(load, [before])
    record(f"no room for a second set of pods, {seats - 2} free", load, "waits for room")

    with model.under_load() as load:
        load.release_begins()
        when_the_spec_changes(model.deployed, rollout={"surge": surge})
        model.then_is_promoted(version, load)
    then_no_request_failed(load, [before, model.answer])
    record(f"no room, then surge: {surge}", load, "promoted")


def given_a_node_with(seats: int) -> None:
    """The first node has as many of an extended resource."""
    node = kube.get_all(kube.NODE)[0]["metadata"]["name"]
    amounts = {"capacity": {SEATS: str(seats)}, "allocatable": {SEATS: str(seats)}}
    kube.patch(kube.NODE, node, "", {"status": amounts}, subresource="status")


# Interruptions in each phase


@pytest.fixture(params=[OperatorKilled, TrackingServerGone], ids=["operator-killed", "mlflow-gone"])
def interruption(request: pytest.FixtureRequest) -> Interruption:
    made: Interruption = request.param()
    return made


@pytest.mark.parametrize("phase", ["Preparing", "Progressing", "Paused", "Promoting", "Draining"])
def test_interrupted_in_steps(
    phase: str,
    interruption: Interruption,
    model: ReleasedModel,
    record: Recorder,
    operator_alone: None,
) -> None:
    # With one pod, nothing lasts between the last step and the end.
    scaling = {"minReplicas": 2} if phase == "Promoting" else {}
    model.given({"steps": PAUSED_STEPS}, scaling=scaling)
    before, version = model.answer, model.register()
    deployed, is_early = model.deployed, phase in ("Preparing", "Progressing", "Paused")
    starts_pods = phase in ("Preparing", "Promoting")  # which download the model
    with model.under_load() as load:
        model.release(version, load)
        if not is_early:
            then_the_phase_is(deployed, "Paused", version)
            when_a_person_says(deployed, "resume")
        then_the_phase_is(deployed, phase, version)
        interruption.begin(deployed)
        if starts_pods:
            interruption.end(deployed)
        if is_early:
            then_the_phase_is(deployed, "Paused", version)
            when_a_person_says(deployed, "resume")
        then_it_serves(model, version)
        load.is_decided()
        if not starts_pods:
            interruption.end(deployed)
        model.then_is_promoted(version, load)
    then_no_request_failed(load, [before, model.answer])
    record(f"{interruption.name} while {phase}", load, "promoted")


@pytest.mark.parametrize("phase", ["Updating", "Moving"])
def test_interrupted_at_once(
    phase: str,
    interruption: Interruption,
    model: ReleasedModel,
    record: Recorder,
    operator_alone: None,
) -> None:
    model.given({"strategy": "direct"})
    before, version = model.answer, model.register()
    deployed = model.deployed
    with model.under_load() as load:
        if phase == "Moving":
            with services_frozen(deployed.namespace):
                model.release(version, load)
                then_the_phase_is(deployed, phase, version)
                interruption.begin(deployed)
                interruption.end(deployed)
        else:
            model.release(version, load)
            then_the_phase_is(deployed, phase, version)
            interruption.begin(deployed)
            interruption.end(deployed)
        model.then_is_promoted(version, load)
    then_no_request_failed(load, [before, model.answer])
    record(f"{interruption.name} while {phase}", load, "promoted")


def test_interrupted_when_failed(
    interruption: Interruption, model: ReleasedModel, record: Recorder, operator_alone: None
) -> None:
    model.given({"steps": STEPS})
    version = model.register("crash")
    with model.under_load() as load:
        model.release(version, load)
        then_the_phase_is(model.deployed, "Failed", version)
        load.is_decided()
        interruption.begin(model.deployed)
        interruption.end(model.deployed)
        says = [f"Version {version} ", "was rolled back", f"Version {model.stable} is still served"]
        then_condition(model.deployed, "Progressing", "False", "ModelLoadFailed", says=says)
        model.recall()
    verdicts = [entry["verdict"] for entry in model.deployed.status["history"]]
    assert verdicts[-1] == "Failed", "it is not tried again"
    then_no_request_failed(load, [model.answer])
    record(f"{interruption.name} while Failed", load, "rolled back without a request")


def test_interrupted_while_undoing(
    interruption: Interruption, model: ReleasedModel, record: Recorder, operator_alone: None
) -> None:
    model.given({"strategy": "direct"})
    old, version = model.stable, model.register()
    model.release(version)
    model.then_is_promoted(version)
    answers = [model.labels[old - 1], model.answer]
    with model.under_load() as load:
        load.release_begins()
        when_a_person_says(model.deployed, "undo")
        wait_for(
            model.deployed,
            "the earlier version is starting",
            lambda: phase_of(model.deployed.status) == "Undoing",
        )
        interruption.begin(model.deployed)
        interruption.end(model.deployed)
        then_it_serves(model, old)
        load.is_decided()
        model.stable = old
        model.recall()
    then_no_request_failed(load, answers)
    record(f"{interruption.name} while Undoing", load, "the earlier version serves")


def test_api_server_restarted(
    model: ReleasedModel, facts: Facts, record: Recorder, operator_alone: None
) -> None:
    if not facts.own_cluster:
        pytest.skip("the API server is somebody else's")
    model.given({"steps": [{"weight": 20, "hold": "10s"}, {"weight": 50, "hold": "5s"}]})
    before, version = model.answer, model.register()
    with model.under_load() as load:
        model.release(version, load)
        then_the_phase_is(model.deployed, "Progressing", version)
        when_the_api_server_is_restarted()
        model.then_is_promoted(version, load)
    then_no_request_failed(load, [before, model.answer])
    record("API server restarted at 20 %", load, "promoted")


def then_only_the_stable_version_answers(model: ReleasedModel) -> None:
    """A while after a rollback the gateway has followed, and no request fails any more."""
    wait_for(
        model.deployed,
        "only the stable version answers",
        lambda: all(answer_of(model.deployed.request) == model.answer for _ in range(20)),
        seconds=HEALTHY_SECONDS,
    )
    with under_load(model.deployed.request, 16) as after:
        wait_for(model.deployed, "fifty answers", lambda: after.sent >= 50)
    assert after.failures == [] and set(after.counts()) == {model.answer}


def then_it_serves(model: ReleasedModel, version: int) -> None:
    """The version is the stable one, whatever else the status says."""
    wait_for(
        model.deployed,
        f"version {version} serves",
        lambda: stable_of(model.deployed.status) == str(version),
    )


def _ready_pods(model: ReleasedModel) -> int:
    deployments = kube.get_all(kube.DEPLOYMENT, model.deployed.namespace)
    return sum(
        deployment.get("status", {}).get("readyReplicas", 0)
        for deployment in deployments
        if deployment["metadata"]["name"] != "mlflow"
    )
