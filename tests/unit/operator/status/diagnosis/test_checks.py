"""What each kind of trouble looks like in the cluster, and what is said of it."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from mlflow_model_operator.render.pod import pod_template
from mlflow_model_operator.settings import Settings
from mlflow_model_operator.status.diagnosis import Failure, diagnose, requeue_after
from mlflow_model_operator.status.diagnosis.limits import limits_of, limits_of_spec
from mlflow_model_operator.status.snapshot import ApplyError
from tests.unit.operator.status.pods import (
    V3,
    Json,
    container,
    decision,
    deployment,
    ended,
    pod,
    resource,
    snapshot,
    word,
)


def unscheduled(message: str) -> list[Json]:
    return [
        {"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": message}
    ]


INSUFFICIENT = "0/3 nodes are available: 3 Insufficient nvidia.com/gpu."
CASES: list[tuple[str, Json, Json, str, str]] = [
    (
        "an image that can't be pulled",
        {},
        pod(V3, containerStatuses=[container(waiting={"reason": "ImagePullBackOff"})]),
        "ImagePullFailed",
        "scoringImages",
    ),
    (
        "a custom image that can't be pulled",
        {"server": {"image": "x:1"}},
        pod(
            V3, containerStatuses=[container(waiting={"reason": "ErrImagePull", "message": "404"})]
        ),
        "ImagePullFailed",
        "spec.server.image",
    ),
    (
        "no GPU",
        {"gpu": {"count": 2, "nodeSelector": {"gpu": "H200"}}},
        pod(V3, conditions=unscheduled(INSUFFICIENT)),
        "NoGpuNode",
        "2 free nvidia.com/gpu and the labels gpu=H200",
    ),
    (
        "no node",
        {},
        pod(V3, conditions=unscheduled("0/3 nodes are available: 3 Insufficient memory.")),
        "Unschedulable",
        "spec.server.resources",
    ),
    (
        "a missing secret",
        {},
        pod(
            V3,
            containerStatuses=[
                container(
                    waiting={
                        "reason": "CreateContainerConfigError",
                        "message": 'secret "mlflow" not failure',
                    }
                )
            ],
        ),
        "ConfigMissing",
        'secret "mlflow" not failure',
    ),
    (
        "killed for memory, now waiting for the next start",
        {},
        pod(
            V3,
            containerStatuses=[
                container(
                    waiting={"reason": "CrashLoopBackOff"},
                    last={"terminated": {"exitCode": 137, "reason": "OOMKilled"}},
                )
            ],
        ),
        "OutOfMemory",
        "limit (2Gi): raise spec.server.resources.limits.memory",
    ),
    (
        "a package that can't be installed",
        {},
        pod(
            V3,
            initContainerStatuses=[
                container(
                    "prepare", terminated=ended(1, word("DependencyInstallFailed", "no nosuch==1"))
                )
            ],
        ),
        "DependencyInstallFailed",
        "no nosuch==1: correct the model's requirements",
    ),
    (
        "a model that does not load, while it is tried again",
        {},
        pod(
            V3,
            containerStatuses=[
                container(
                    running={},
                    last={"terminated": ended(1, word("ModelLoadFailed", "ImportError: x"))},
                )
            ],
        ),
        "ModelLoadFailed",
        "ImportError: x",
    ),
    (
        "a crash without a word",
        {},
        pod(
            V3,
            containerStatuses=[
                container(terminated={"exitCode": 2, "message": "line 1\nboom\n"}),
            ],
        ),
        "ContainerCrashed",
        "exit code 2: boom",
    ),
]


@pytest.mark.parametrize(
    ("spec", "live_pod", "reason", "text"), [c[1:] for c in CASES], ids=[c[0] for c in CASES]
)
def test_a_pod_in_trouble_is_explained(spec: Json, live_pod: Json, reason: str, text: str) -> None:
    failure = diagnose(snapshot(decision(), deployment(V3), live_pod, of=resource(**spec)), V3)
    assert failure is not None
    assert failure.reason == reason
    assert text in failure.message


@pytest.mark.parametrize(
    ("condition", "reason", "text"),
    [
        (
            {
                "type": "ReplicaFailure",
                "status": "True",
                "message": 'pods "x" is forbidden: exceeded quota: small, requested: memory=1Gi',
            },
            "QuotaExceeded",
            "exceeded quota: small",
        ),
        (
            {
                "type": "ReplicaFailure",
                "status": "True",
                "message": "violates PodSecurity restricted:latest",
            },
            "PodRejected",
            "violates PodSecurity",
        ),
        (
            {"type": "Progressing", "status": "False", "reason": "ProgressDeadlineExceeded"},
            "StartupTimeout",
            "within 10m: raise spec.server.startupTimeout",
        ),
    ],
)
def test_a_deployment_in_trouble_is_explained(condition: Json, reason: str, text: str) -> None:
    failure = diagnose(snapshot(decision(), deployment(V3, conditions=[condition])), V3)
    assert failure is not None
    assert (failure.reason, text in failure.message) == (reason, True)


def test_a_refused_network_policy_is_why_there_are_no_pods() -> None:
    error = ApplyError("NetworkPolicy", "wine", 403, "Forbidden", "cannot patch networkpolicies")
    failure = diagnose(snapshot(decision(), errors=(error,)), V3)
    assert failure is not None
    assert failure.reason == "ApplyRefused"
    assert "NetworkPolicy wine" in failure.message


def test_a_refused_object_is_explained_first() -> None:
    error = ApplyError("Deployment", "wine-3", 422, "Invalid", "spec.x: no")
    failure = diagnose(snapshot(decision(), errors=(error,)), V3)
    assert failure is not None
    assert failure.reason == "ApplyRefused"


def test_a_pod_that_is_merely_starting_is_no_failure() -> None:
    starting = pod(V3, containerStatuses=[container(running={})])
    assert diagnose(snapshot(decision(), deployment(V3), starting), V3) is None


def test_pods_that_are_ending_do_not_count() -> None:
    ending = pod(V3, containerStatuses=[container(terminated={"exitCode": 1})])
    ending["metadata"]["deletionTimestamp"] = "2026-01-01T00:00:00Z"
    assert diagnose(snapshot(decision(), deployment(V3), ending), V3) is None


# In more detail: the words of Kubernetes 1.37, and what they must not be taken for.


def failure_of(live_pod: Json, **spec: Any) -> Failure | None:
    return diagnose(snapshot(decision(), deployment(V3), live_pod, of=resource(**spec)), V3)


def reason(live_pod: Json, **spec: Any) -> str | None:
    failure = failure_of(live_pod, **spec)
    return failure.reason if failure else None


def message(live_pod: Json, **spec: Any) -> str:
    failure = failure_of(live_pod, **spec)
    assert failure is not None
    return failure.message


GPU = {"count": 1, "resource": "nvidia.com/gpu", "nodeSelector": {"gpu": "H200"}}
ANY_GPU = {"count": 1, "resource": "nvidia.com/gpu"}
NODES = "0/5 nodes are available: "
PREEMPTION = " preemption: 0/5 nodes are available: 5 Preemption is not helpful for scheduling."


@pytest.mark.parametrize(
    ("gpu", "why", "expected", "fix"),
    [
        (GPU, "5 Insufficient nvidia.com/gpu.", "NoGpuNode", "spec.gpu"),
        (GPU, "2 Insufficient nvidia.com/gpu, 3 node(s) had x.", "NoGpuNode", "spec.gpu"),
        (GPU, "5 node(s) didn't match Pod's node affinity/selector.", "NoGpuNode", "spec.gpu"),
        # Those labels can only come from spec.pod.
        (ANY_GPU, "5 node(s) didn't match Pod's node affinity/selector.", "Unschedulable", "pod"),
        (GPU, "5 node(s) didn't match pod anti-affinity rules.", "Unschedulable", "spec.pod"),
        # Another resource whose name begins the same.
        (ANY_GPU, "5 Insufficient nvidia.com/gpu.shared.", "Unschedulable", "spec.pod"),
        (ANY_GPU, "5 Insufficient memory.", "Unschedulable", "spec.server.resources"),
        (None, "5 Insufficient nvidia.com/gpu.", "Unschedulable", "spec.server.resources"),
        (None, "5 node(s) had untolerated taint(s).", "Unschedulable", "spec.pod.tolerations"),
        (
            None,
            'persistentvolumeclaim "models" not failure.',
            "Unschedulable",
            "create the PersistentVolumeClaim",
        ),
        (
            None,
            "pod has unbound immediate PersistentVolumeClaims.",
            "Unschedulable",
            "create the PersistentVolumeClaim",
        ),
    ],
)
def test_why_no_node_takes_a_pod(gpu: Json | None, why: str, expected: str, fix: str) -> None:
    live_pod = pod(V3, phase="Pending", conditions=unscheduled(NODES + why + PREEMPTION))
    spec = {"gpu": gpu} if gpu else {}
    assert reason(live_pod, **spec) == expected
    assert fix in message(live_pod, **spec)
    assert "preemption" not in message(live_pod, **spec)


def test_nodes_that_come_and_go_do_not_change_the_message() -> None:
    before = unscheduled("0/3 nodes are available: 1 Insufficient cpu, 2 Insufficient memory.")
    after = unscheduled("0/9 nodes are available: 7 Insufficient memory, 9 Insufficient cpu.")
    assert message(pod(V3, conditions=before)) == message(pod(V3, conditions=after))


def test_a_pod_that_waits_for_its_gates_is_no_failure() -> None:
    gated = [{"type": "PodScheduled", "status": "False", "reason": "SchedulingGated"}]
    assert failure_of(pod(V3, conditions=gated)) is None


PULL = (
    'failed to pull and unpack image "registry.invalid/nothing:1": failed to resolve reference '
    '"registry.invalid/nothing:1": dial tcp: lookup registry.invalid on 10.96.0.10:53: no such host'
)


@pytest.mark.parametrize(
    ("now", "then"),
    [
        (
            ("ErrImagePull", PULL),
            (
                "ImagePullBackOff",
                'Back-off pulling image "registry.invalid/nothing:1": ErrImagePull: ' + PULL,
            ),
        ),
        (
            ("ErrImagePull", "read udp 10.244.0.5:43210->10.96.0.10:53: i/o timeout"),
            ("ErrImagePull", "read udp 10.244.0.5:51234->10.96.0.10:53: i/o timeout"),
        ),
    ],
)
def test_the_tries_to_pull_an_image_do_not_change_the_message(
    now: tuple[str, str], then: tuple[str, str]
) -> None:
    messages = {
        message(
            pod(V3, initContainerStatuses=[container(waiting={"reason": why, "message": words})])
        )
        for why, words in (now, then)
    }
    assert len(messages) == 1


@pytest.mark.parametrize(
    ("words", "expected", "fix"),
    [
        ("exceeded quota: tight, requested: requests.memory=1Gi", "QuotaExceeded", "resources"),
        ("failed quota: tight: must specify limits.cpu for: server", "QuotaExceeded", "resources"),
        (
            'violates PodSecurity "restricted:latest": restricted volume types (volume "host" uses '
            'restricted volume type "hostPath")',
            "PodRejected",
            "Pod Security Standard",
        ),
        (
            "maximum memory usage per Container is 512Mi, but limit is 2Gi",
            "PodRejected",
            "LimitRange",
        ),
        (
            'error looking up service account models/nobody: serviceaccount "nobody" not failure',
            "PodRejected",
            "spec.pod.serviceAccountName",
        ),
        (
            "no PriorityClass with name urgent was failure",
            "PodRejected",
            "spec.pod.priorityClassName",
        ),
        (
            'pod rejected: RuntimeClass "nvidia" not failure',
            "PodRejected",
            "spec.gpu.runtimeClassName",
        ),
        (
            'admission webhook "policy.example.com" denied the request: no',
            "PodRejected",
            "namespace's policy",
        ),
    ],
)
def test_why_no_pod_is_made(words: str, expected: str, fix: str) -> None:
    condition = {
        "type": "ReplicaFailure",
        "status": "True",
        "reason": "FailedCreate",
        "message": f'pods "wine-3-664cc6f7d8-2kqtp" is forbidden: {words}',
    }
    failure = diagnose(snapshot(decision(), deployment(V3, conditions=[condition])), V3)
    assert failure is not None
    assert failure.reason == expected
    assert fix in failure.message
    assert "2kqtp" not in failure.message, "the name of a pod that is not there"


# How containers end


@pytest.mark.parametrize(
    ("name", "end", "expected"),
    [
        ("server", ended(137, reason="OOMKilled"), "OutOfMemory"),
        ("prepare", ended(137, reason="OOMKilled"), "OutOfMemory"),
        # uv or a worker was killed, and the container's own process with it.
        ("prepare", ended(137), "OutOfMemory"),
        ("server", ended(137), "OutOfMemory"),
        # The startup probe gave up after 10 minutes; SIGTERM was heeded, or not.
        ("server", ended(0, reason="Completed", seconds=603), "StartupTimeout"),
        ("server", ended(143, seconds=600), "StartupTimeout"),
        ("server", ended(137, seconds=640), "StartupTimeout"),
        # It had served for long before.
        ("server", ended(137, seconds=90_000), "ContainerCrashed"),
        ("server", ended(0, reason="Completed"), "ContainerCrashed"),
        # The kubelet lost sight of it, for example when the node was started again.
        ("server", ended(137, reason="ContainerStatusUnknown"), "ContainerCrashed"),
        ("server", ended(255, reason="Unknown"), "ContainerCrashed"),
        ("server", ended(128, "exec: no such file", reason="StartError"), "ContainerCrashed"),
        ("server", ended(1, word("ArtifactUnreadable", "403")), "ArtifactUnreadable"),
        *(
            ("prepare", ended(1, word(reason, "why")), reason)
            for reason in (
                "ArtifactUnauthorized",
                "ArtifactServerUnreachable",
                "ArtifactServerUntrusted",
                "InvalidModel",
            )
        ),
        ("server", ended(1, word("Nonsense", "its words")), "ContainerCrashed"),
        ("server", ended(1, "[" * 4000), "ContainerCrashed"),
    ],
)
def test_how_a_container_ended(name: str, end: Json, expected: str) -> None:
    place = "initContainerStatuses" if name == "prepare" else "containerStatuses"
    # The same at once, while it waits for its next start, and while it tries.
    states: list[Json] = [
        {"terminated": end},
        {"waiting": {"reason": "CrashLoopBackOff"}, "last": {"terminated": end}},
        {"running": {"startedAt": "2026-01-01T01:00:00Z"}, "last": {"terminated": end}},
    ]
    failures = {
        failure_of(pod(V3, "p1", **{place: [container(name, **state)]})) for state in states
    }
    (failure,) = failures
    assert failure is not None
    assert failure.reason == expected
    assert f"{name} of pod p1" in failure.message


@pytest.mark.parametrize(
    ("reason", "fix"),
    [
        ("ArtifactServerUnreachable", "check that it runs, that its address is right"),
        ("ArtifactServerUntrusted", "put the certificate of its authority into a ConfigMap"),
        ("ArtifactUnauthorized", "correct the credentials in the Secret"),
        ("ArtifactUnreadable", "check that it exists"),
    ],
)
def test_the_fix_for_a_download_is_where_the_failure_is(reason: str, fix: str) -> None:
    prepare = container("prepare", terminated=ended(1, word(reason, "The server x:80 fails")))
    assert f"The server x:80 fails: {fix}" in message(pod(V3, initContainerStatuses=[prepare]))


def test_a_container_that_can_not_be_made_says_why() -> None:
    words = 'failed to create containerd task: exec: "serve": not failure'
    waiting = {"reason": "CreateContainerError", "message": words}
    live_pod = pod(V3, containerStatuses=[container(waiting=waiting)])
    assert reason(live_pod) == "ContainerCrashed"
    assert words in message(live_pod)


def test_a_prepare_step_that_is_done_is_no_failure_though_it_failed_before() -> None:
    done = container(
        "prepare",
        ready=True,
        terminated=ended(0, reason="Completed"),
        last={"terminated": ended(1, word("ArtifactUnreadable", "503"))},
    )
    loading = container(running={"startedAt": "2026-01-01T00:00:00Z"})
    assert failure_of(pod(V3, initContainerStatuses=[done], containerStatuses=[loading])) is None


def test_a_sidecar_that_runs_again_is_no_failure() -> None:
    sidecar = container("proxy", ready=True, running={}, last={"terminated": ended(1)})
    assert failure_of(pod(V3, initContainerStatuses=[sidecar])) is None


def test_the_newest_pod_is_believed() -> None:
    older = pod(V3, "a", containerStatuses=[container(terminated=ended(1, "old"))])
    newer = pod(V3, "b", containerStatuses=[container(terminated=ended(1, "new"))])
    newer["metadata"]["creationTimestamp"] = "2026-01-01T00:00:01Z"
    for pods in ((older, newer), (newer, older)):
        failure = diagnose(snapshot(decision(), deployment(V3), *pods), V3)
        assert failure is not None
        assert "new" in failure.message


EVICTED = {
    "phase": "Failed",
    "reason": "Evicted",
    "message": "Pod ephemeral local storage usage exceeds the total limit of containers 1Gi. ",
}


@pytest.mark.parametrize(("after", "expected"), [(60, "PodRejected"), (86_400, None)])
def test_a_pod_terminated_by_its_node_is_reported_for_as_long_as_it_matters(
    after: float, expected: str | None
) -> None:
    dead = pod(V3, "dead", **EVICTED, containerStatuses=[container(terminated=ended(137))])
    created = datetime.fromisoformat(dead["metadata"]["creationTimestamp"]).timestamp()
    live_pod = snapshot(decision(), deployment(V3), dead, pod(V3, "new"), now=created + after)
    failure = diagnose(live_pod, V3)
    assert (failure.reason if failure else None) == expected
    assert failure is None or "exceeds the total limit of containers 1Gi" in failure.message


@pytest.mark.parametrize(
    ("words", "fix"),
    [
        (
            'Usage of EmptyDir volume "model" exceeds the limit "50Gi". ',
            "spec.server.storage.model",
        ),
        ('Usage of EmptyDir volume "tmp" exceeds the limit "10Gi". ', "spec.server.storage.tmp"),
        (
            'Usage of EmptyDir volume "nginx-log" exceeds the limit "1Gi". ',
            "spec.server.storage.tmp",
        ),
        ("The node was low on resource: memory. ", "set spec.server.resources"),
    ],
)
def test_a_pod_ended_by_its_node_says_which_limit_to_raise(words: str, fix: str) -> None:
    dead = pod(V3, "dead", phase="Failed", reason="Evicted", message=words)
    created = datetime.fromisoformat(dead["metadata"]["creationTimestamp"]).timestamp()
    failure = diagnose(snapshot(decision(), deployment(V3), dead, now=created + 60), V3)
    assert failure is not None
    assert failure.reason == "PodRejected"
    assert words.rstrip(". ") in failure.message
    assert fix in failure.message


# A volume that does not come: Kubernetes gives the pod no reason at all.


def waits_for_volumes(seconds: float) -> tuple[Json, float]:
    live_pod = pod(
        V3,
        phase="Pending",
        startTime="2026-01-01T00:00:00Z",
        conditions=[
            {"type": "PodScheduled", "status": "True"},
            {"type": "PodReadyToStartContainers", "status": "False"},
        ],
        initContainerStatuses=[container("prepare", waiting={"reason": "PodInitializing"})],
        containerStatuses=[container(waiting={"reason": "PodInitializing"})],
    )
    return live_pod, datetime(2026, 1, 1, tzinfo=UTC).timestamp() + seconds


@pytest.mark.parametrize(
    ("spec", "named"),
    [
        (
            {"dependencies": {"caConfigMap": {"name": "corporate-ca"}}},
            "ConfigMap corporate-ca (spec.dependencies.caConfigMap, key ca.crt)",
        ),
        (
            {"pod": {"volumes": [{"name": "key", "secret": {"secretName": "signing"}}]}},
            "Secret signing (spec.pod.volumes, key)",
        ),
    ],
)
def test_a_volume_that_does_not_mount_names_its_config(spec: Json, named: str) -> None:
    waiting, now = waits_for_volumes(31)
    given_late = snapshot(decision(), deployment(V3), waiting, of=resource(**spec), now=now)
    failure = diagnose(given_late, V3)
    assert failure is not None
    assert failure.reason == "ConfigMissing"
    assert named in failure.message
    assert requeue_after(given_late) is None

    given_early = snapshot(decision(), deployment(V3), waiting, of=resource(**spec), now=now - 20)
    assert diagnose(given_early, V3) is None
    assert requeue_after(given_early) == pytest.approx(19.0)


CLIENTS = {"access": {"apiKeysSecret": {"name": "clients", "key": "api-keys"}}}
CA = {"dependencies": {"caConfigMap": {"name": "corporate-ca"}}}


@pytest.mark.parametrize(
    ("spec", "expected"),
    [
        (CLIENTS, "AccessSecretMissing"),
        # Kubernetes does not say which of the two is missing.
        ({**CLIENTS, **CA}, "ConfigMissing"),
    ],
)
def test_a_missing_secret_of_api_keys_keeps_the_door_shut_and_says_so(
    spec: Json, expected: str
) -> None:
    waiting, now = waits_for_volumes(31)
    given = resource(**spec)
    # By the spec, and by the revision's own Deployment once there is one.
    template = pod_template(given, V3.model, Settings())
    made = deployment(V3)
    made["spec"]["template"] = template
    for live in (deployment(V3), made):
        failure = diagnose(snapshot(decision(), live, waiting, of=given, now=now), V3)
        assert failure is not None
        assert failure.reason == expected
        named = "Secret clients (spec.access.apiKeysSecret, key api-keys)"
        assert named in failure.message


def test_keys_that_cannot_be_used_say_what_to_write() -> None:
    words = "API_KEYS_FILE /access/keys: line 1 is not a key"
    wrong = pod(
        V3, containerStatuses=[container(terminated=ended(2, word("AccessSecretInvalid", words)))]
    )
    failure = diagnose(snapshot(decision(), deployment(V3), wrong, of=resource(**CLIENTS)), V3)
    assert failure is not None
    assert failure.reason == "AccessSecretInvalid"
    assert words in failure.message
    assert "write <name>:<API key> on each line" in failure.message


@pytest.mark.parametrize(
    "volume",
    [
        {"name": "models", "persistentVolumeClaim": {"claimName": "models"}},
        {"name": "extra", "configMap": {"name": "extra", "optional": True}},
    ],
)
def test_other_volumes_may_take_their_time(volume: Json) -> None:
    waiting, now = waits_for_volumes(300)
    slow = snapshot(
        decision(), deployment(V3), waiting, of=resource(pod={"volumes": [volume]}), now=now
    )
    assert diagnose(slow, V3) is None
    assert requeue_after(slow) is None


# The spec has changed since a revision's pods were made: its own Deployment has its numbers.


def of_its_own(
    memory: str = "2Gi", startup_seconds: int = 600, volumes: list[Json] | None = None
) -> Json:
    """A Deployment whose template states other limits than the spec does now."""
    probe = {"periodSeconds": 2, "failureThreshold": startup_seconds // 2}
    server = {
        "name": "server",
        "startupProbe": probe,
        "resources": {"limits": {"memory": memory, "nvidia.com/gpu": "4"}},
    }
    live = deployment(V3)
    live["spec"]["template"] = {
        "spec": {
            "containers": [server],
            "terminationGracePeriodSeconds": 40,
            "volumes": volumes or [],
        }
    }
    return live


def test_an_old_revision_that_does_not_start_is_measured_by_its_own_timeout() -> None:
    slow = pod(V3, "p1", containerStatuses=[container(terminated=ended(143, seconds=11))])
    spec = resource(server={"startupTimeout": "90s"})
    failure = diagnose(snapshot(decision(), of_its_own(startup_seconds=10), slow, of=spec), V3)
    assert failure is not None
    assert failure.reason == "StartupTimeout"
    assert "did not answer within 10s: spec.server.startupTimeout is 90s now" in failure.message
    # A revision with the time of the present spec has crashed after 11 seconds.
    crashed = diagnose(snapshot(decision(), of_its_own(startup_seconds=90), slow, of=spec), V3)
    assert crashed is not None
    assert crashed.reason == "ContainerCrashed"


def test_a_stuck_old_deployment_names_its_own_timeout() -> None:
    stuck = of_its_own(startup_seconds=90)
    condition = {"type": "Progressing", "status": "False", "reason": "ProgressDeadlineExceeded"}
    stuck["status"]["conditions"] = [condition]
    failure = diagnose(snapshot(decision(), stuck), V3)
    assert failure is not None
    assert "within 1m30s: spec.server.startupTimeout is 10m now" in failure.message


def test_an_old_revision_out_of_memory_names_its_own_limit() -> None:
    killed = pod(V3, containerStatuses=[container(terminated=ended(137, reason="OOMKilled"))])
    raised = resource(server={"resources": {"limits": {"memory": "1Gi"}}})
    failure = diagnose(snapshot(decision(), of_its_own("400Mi"), killed, of=raised), V3)
    assert failure is not None
    assert "(400Mi): spec.server.resources.limits.memory is 1Gi now" in failure.message
    same = resource(server={"resources": {"limits": {"memory": "1024Mi"}}})
    failure = diagnose(snapshot(decision(), of_its_own("1Gi"), killed, of=same), V3)
    assert failure is not None
    assert "(1Gi): raise spec.server.resources.limits.memory" in failure.message


def test_an_old_revision_asks_for_its_own_number_of_gpus() -> None:
    pending = pod(V3, phase="Pending", conditions=unscheduled(INSUFFICIENT))
    failure = diagnose(snapshot(decision(), of_its_own(), pending, of=resource(gpu=ANY_GPU)), V3)
    assert failure is not None
    assert "No node has 4 free nvidia.com/gpu" in failure.message


def test_an_old_revision_waits_for_its_own_volumes() -> None:
    waiting, now = waits_for_volumes(31)
    ca = {"name": "ca", "configMap": {"name": "old-ca", "items": [{"key": "ca.pem"}]}}
    corrected = resource(dependencies={"caConfigMap": {"name": "new-ca"}})
    given = snapshot(decision(), of_its_own(volumes=[ca]), waiting, of=corrected, now=now)
    failure = diagnose(given, V3)
    assert failure is not None
    assert "ConfigMap old-ca (spec.dependencies.caConfigMap, key ca.pem)" in failure.message


def test_the_limits_are_read_from_the_deployments_that_the_operator_makes() -> None:
    spec = resource(
        server={"startupTimeout": "90s", "resources": {"limits": {"memory": "3Gi"}}},
        routing={"timeout": "20s"},
        gpu={"count": 2},
        dependencies={"caConfigMap": {"name": "corporate-ca", "key": "ca.pem"}},
    )
    template = pod_template(spec, V3.model, Settings())
    live = {"spec": {"template": template}}
    limits, stated = limits_of(live, resource()), limits_of_spec(spec)
    assert limits.startup_timeout == stated.startup_timeout == 90
    assert limits.shutdown_timeout >= stated.shutdown_timeout == 20
    assert limits.resources == stated.resources == {"memory": "3Gi", "nvidia.com/gpu": "2"}
    assert limits.required_config == stated.required_config
    assert limits.required_config == [
        "ConfigMap corporate-ca (spec.dependencies.caConfigMap, key ca.pem)"
    ]
