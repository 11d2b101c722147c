"""What users write comes through unharmed; pods are restricted; names depend on templates."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import jinja2
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from mlflow_model_operator import render
from mlflow_model_operator.api.model_version import ModelVersion
from mlflow_model_operator.api.resource import MLflowModelDeployment
from mlflow_model_operator.render.engine import fill
from mlflow_model_operator.rollout.state import Weight
from mlflow_model_operator.settings import Settings
from mlflow_model_server.settings import from_environment
from tests.golden.test_golden import CASES, objects

Json = dict[str, Any]
SETTINGS = Settings(scoring_images={"3.11": "scoring:3.11", "3.12": "scoring:3.12"})
MODEL = ModelVersion("models:/wine@champion", "models:/wine/3", "3", "http://mlflow:5000")

HOSTILE = (
    "'\"\\ {{ x }} {% raw %} #c\n---\nkind: Pod\n&a *a !!python/object [ { - | > \t\u2028\x85é"
)
texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=300)


def resource(name: str = "wine", **spec: Any) -> MLflowModelDeployment:
    return MLflowModelDeployment.parse(
        {
            "metadata": {"name": name, "namespace": "models", "uid": "u", "generation": 1},
            "spec": {"model": {"uri": "models:/wine@champion"}, **spec},
        }
    )


def deployment_of(given: MLflowModelDeployment, model: ModelVersion = MODEL) -> Json:
    revision = render.revision(given, model, SETTINGS)
    return render.revision_objects(given, revision, SETTINGS, render.Scale(1))[0]


@given(texts)
@example(HOSTILE)
@example(HOSTILE * 100)
def test_any_text_reaches_the_pods_unharmed(text: str) -> None:
    given = resource(
        server={"env": [{"name": "A", "value": text}]},
        pod={"annotations": {"example.com/note": text}},
    )
    template = deployment_of(given)["spec"]["template"]
    (container,) = template["spec"]["containers"]
    assert {"name": "A", "value": text} in container["env"]
    assert template["metadata"]["annotations"] == {"example.com/note": text}
    assert len(container["env"]) == len({variable["name"] for variable in container["env"]})


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | texts,
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
        max_leaves=8,
    )
)
def test_shapes_that_only_kubernetes_knows_pass_as_they_are(shape: Any) -> None:
    given = resource(pod={"affinity": {"any": shape}})
    assert deployment_of(given)["spec"]["template"]["spec"]["affinity"] == {"any": shape}


@given(texts, texts)
def test_another_value_is_another_revision(first: str, second: str) -> None:
    names = [
        render.revision(
            resource(server={"env": [{"name": "A", "value": text}]}), MODEL, SETTINGS
        ).name
        for text in (first, second)
    ]
    assert (names[0] == names[1]) == (first == second)


def test_the_revision_does_not_depend_on_the_uri_that_resolved_to_it() -> None:
    by_number = ModelVersion("models:/wine/3", "models:/wine/3", "3", "http://mlflow:5000")
    by_alias = render.revision(resource(), MODEL, SETTINGS)
    assert render.revision(resource(), by_number, SETTINGS).name == by_alias.name


@pytest.mark.parametrize(
    "spec",
    [
        {"scaling": {"minReplicas": 3, "maxReplicas": 9}},
        {"canary": {"uri": "models:/wine/4", "weight": 10}},
        {"routing": {"gateway": {"name": "shared"}}},
    ],
)
def test_scaling_and_traffic_make_no_new_revision(spec: Json) -> None:
    plain = render.revision(resource(), MODEL, SETTINGS).name
    assert render.revision(resource(**spec), MODEL, SETTINGS).name == plain


def test_another_process_gives_the_same_name() -> None:
    """Python's own hashes differ from process to process; ours must not."""
    code = (
        "from tests.unit.operator.render.test_render import *\n"
        "print(render.revision(resource(), MODEL, SETTINGS).name)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.strip() == render.revision(resource(), MODEL, SETTINGS).name


@pytest.mark.parametrize(
    ("python", "image"),
    [("3.12.4", "scoring:3.12"), ("3.9.1", "scoring:3.11"), (None, "scoring:3.11")],
)
def test_the_scoring_image_is_for_the_python_version_of_the_model(
    python: str | None, image: str
) -> None:
    model = ModelVersion("a", "models:/wine/3", "3", python_version=python)
    containers = deployment_of(resource(), model)["spec"]["template"]["spec"]["containers"]
    assert containers[0]["image"] == image


@pytest.mark.parametrize(
    ("stated", "expected"),
    [
        # Under a name of its own, so that INDEX_URL of a credentialsSecret has its say.
        (None, {"DEFAULT_INDEX_URL": "https://default/simple"}),
        ("https://own/simple", {"INDEX_URL": "https://own/simple"}),
    ],
)
def test_the_default_index_gives_way_to_any_other(
    stated: str | None, expected: dict[str, str]
) -> None:
    settings = Settings(index_url="https://default/simple")
    given = resource(
        model={"uri": "models:/wine/3", "credentialsSecret": "index"},
        dependencies={"indexUrl": stated} if stated else {},
    )
    revision = render.revision(given, MODEL, settings)
    deployment = render.revision_objects(given, revision, settings, render.Scale(1))[0]
    (prepare,) = deployment["spec"]["template"]["spec"]["initContainers"]
    environment = {variable["name"]: variable.get("value") for variable in prepare["env"]}
    index = {name: environment[name] for name in environment if name.endswith("INDEX_URL")}
    assert index == expected
    from_secret = {"INDEX_URL": "https://user:password@secret/simple"}
    assert prepare["envFrom"] == [{"secretRef": {"name": "index"}}]
    environment_of_server = from_secret | index  # variables that are set by name win over envFrom
    assert from_environment(environment_of_server).index_url == (stated or from_secret["INDEX_URL"])
    assert from_environment(index).index_url == (stated or "https://default/simple")


def pod_of(given: MLflowModelDeployment) -> Json:
    pod: Json = deployment_of(given)["spec"]["template"]["spec"]
    return pod


@pytest.mark.parametrize(
    ("model", "server", "expected"),
    [
        ({}, {}, {"prepare": True, "server": False}),
        ({"credentialsInServer": True}, {}, {"prepare": True, "server": True}),
        # It fetches the model itself.
        ({}, {"image": "wine:1"}, {"server": True}),
    ],
)
def test_the_code_of_a_model_gets_no_credentials_unless_asked_for(
    model: Json, server: Json, expected: dict[str, bool]
) -> None:
    uri = {"uri": "models:/wine/3", "credentialsSecret": "mlflow"}
    pod = pod_of(resource(model={**uri, **model}, server=server))
    from_secret = [{"secretRef": {"name": "mlflow"}}]
    containers = [*pod.get("initContainers", []), *pod["containers"]]
    assert {c["name"]: c.get("envFrom") == from_secret for c in containers} == expected
    assert all("envFrom" not in c for c in containers if not expected[c["name"]])


@pytest.mark.parametrize(
    ("stated", "expected"),
    [
        ({}, False),
        ({"serviceAccountName": "wine"}, False),
        ({"serviceAccountName": "wine", "automountServiceAccountToken": True}, True),
    ],
)
def test_a_token_of_the_kubernetes_api_is_mounted_only_when_asked_for(
    stated: Json, expected: bool
) -> None:
    assert pod_of(resource(pod=stated))["automountServiceAccountToken"] is expected


@pytest.mark.parametrize(
    ("server", "expected"),
    [
        ({}, {"model": "50Gi", "tmp": "10Gi"}),
        ({"storage": {"model": "1Ti"}}, {"model": "1Ti", "tmp": "10Gi"}),
        ({"storage": {"model": 0, "tmp": "0Gi"}}, {"model": None, "tmp": None}),
        (
            {"image": "wine:1", "storage": {"tmp": "1Gi"}},
            {"model": "50Gi", "tmp": "1Gi", "nginx-log": "1Gi", "nginx-lib": "1Gi"},
        ),
    ],
)
def test_no_pod_fills_its_node(server: Json, expected: dict[str, str | None]) -> None:
    volumes = pod_of(resource(server=server))["volumes"]
    limits = {v["name"]: v["emptyDir"].get("sizeLimit") for v in volumes if "emptyDir" in v}
    assert limits == expected


def test_users_labels_do_not_replace_ours() -> None:
    given = resource(pod={"labels": {"team": "cellar"}})
    labels = deployment_of(given)["spec"]["template"]["metadata"]["labels"]
    assert labels["team"] == "cellar"
    assert labels["mlflow-model-operator.dev/deployment"] == "wine"


@pytest.mark.parametrize("case", CASES)
def test_all_pods_meet_the_restricted_pod_security_standard(case: str) -> None:
    for obj in objects(case):
        if obj["kind"] == "Deployment":
            _assert_restricted(obj["spec"]["template"]["spec"])


def _assert_restricted(pod: Json) -> None:
    """https://kubernetes.io/docs/concepts/security/pod-security-standards/#restricted, and more."""
    assert pod["securityContext"]["runAsNonRoot"] is True
    assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    for container in [*pod["containers"], *pod.get("initContainers", [])]:
        context = container["securityContext"]
        assert context["allowPrivilegeEscalation"] is False
        assert context["capabilities"] == {"drop": ["ALL"]}
        assert context["readOnlyRootFilesystem"] is True
    assert not any(pod.get(name) for name in ("hostNetwork", "hostPID", "hostIPC"))


def test_a_value_that_a_template_lacks_is_an_error() -> None:
    with pytest.raises(jinja2.UndefinedError, match="metadata"):
        fill("service", selector={})


def test_a_route_states_each_share() -> None:
    given = resource(routing={"gateway": {"name": "shared"}, "path": "/wine", "timeout": "2m"})
    traffic = (Weight("wine-a", 70), Weight("wine-b", 30))
    route = render.routing_objects(given, traffic)[1]
    (rule,) = route["spec"]["rules"]
    assert [(ref["name"], ref["weight"]) for ref in rule["backendRefs"]] == list(traffic)
    assert rule["timeouts"] == {"request": "2m"}
    assert rule["filters"][0]["type"] == "URLRewrite"
    assert route["spec"]["parentRefs"][0]["namespace"] == "models"


@pytest.mark.parametrize(
    ("shares", "selected"),
    [
        ((Weight("wine-a", 70), Weight("wine-b", 30)), "wine-a"),
        ((Weight("wine-b", 100),), "wine-b"),
    ],
)
def test_behind_a_gateway_the_service_selects_what_serves(
    shares: tuple[Weight, ...], selected: str
) -> None:
    """The stable revision, or the canary where that has all requests."""
    given = resource(routing={"gateway": {"name": "shared"}})
    service = render.routing_objects(given, shares)[0]
    assert service["spec"]["selector"]["mlflow-model-operator.dev/revision"] == selected


@pytest.mark.parametrize(
    ("excluded", "hostnames"),
    [(set(), ["a.example.com", "b.example.com"]), ({"a.example.com"}, ["b.example.com"])],
)
def test_the_route_leaves_host_names_to_older_resources(
    excluded: set[str], hostnames: list[str]
) -> None:
    routing = {"gateway": {"name": "shared"}, "hostnames": ["a.example.com", "b.example.com"]}
    objects = render.routing_objects(
        resource(routing=routing), (Weight("wine-a", 100),), excluded_hostnames=frozenset(excluded)
    )
    assert objects[1]["spec"]["hostnames"] == hostnames


@pytest.mark.parametrize(
    ("hostnames", "excluded"), [(["a.example.com"], {"a.example.com"}), ([], {""})]
)
def test_without_a_host_name_of_its_own_there_is_no_route(
    hostnames: list[str], excluded: set[str]
) -> None:
    routing = {"gateway": {"name": "shared"}, "hostnames": hostnames}
    objects = render.routing_objects(
        resource(routing=routing), (Weight("wine-a", 100),), excluded_hostnames=frozenset(excluded)
    )
    assert [obj["kind"] for obj in objects] == ["Service"]


CUSTOM = {"image": "registry.example.com/wine:7"}


@pytest.mark.parametrize(
    ("timeout", "server", "shutdown", "pause"),
    [
        ("30s", {}, 30, 5),
        ("2m", {}, 120, 5),
        ("500ms", {}, 1, 5),
        # No request is cut short within an hour, and none holds a node's drain for longer.
        ("0s", {}, 3600, 5),
        ("99999h", {}, 3600, 5),
        # A custom image is waited for each time, whether there are requests or not.
        ("0s", CUSTOM, 30, 35),
        ("2m", CUSTOM, 120, 125),
    ],
)
def test_requests_in_flight_get_their_time_within_bounds(
    timeout: str, server: Json, shutdown: int, pause: int
) -> None:
    given = resource(routing={"timeout": timeout}, server=server)
    pod = deployment_of(given)["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    assert {"name": "SHUTDOWN_TIMEOUT", "value": str(shutdown)} in container["env"]
    assert container["lifecycle"]["preStop"]["sleep"]["seconds"] == pause
    assert pod["terminationGracePeriodSeconds"] == shutdown + 10


@pytest.mark.parametrize(
    ("server", "policy"),
    [
        ({}, "IfNotPresent"),
        ({"imagePullPolicy": "Always"}, "Always"),
        (CUSTOM, None),
        ({**CUSTOM, "imagePullPolicy": "Never"}, "Never"),
    ],
)
def test_when_the_image_is_pulled(server: Json, policy: str | None) -> None:
    pod = deployment_of(resource(server=server))["spec"]["template"]["spec"]
    for container in [*pod["containers"], *pod.get("initContainers", [])]:
        assert container.get("imagePullPolicy") == policy


LOGGED = ModelVersion("models:/wine@champion", "models:/m-1a2b", "3", "http://mlflow:5000", "wine")
CREATED = replace(MODEL, name="wine", created=1_700_000_000_000)


def test_the_server_knows_the_registered_model_that_a_logged_model_is() -> None:
    (container,) = deployment_of(resource(), LOGGED)["spec"]["template"]["spec"]["containers"]
    env = {variable["name"]: variable.get("value") for variable in container["env"]}
    assert (env["MODEL_URI"], env["MODEL_NAME"], env["MODEL_VERSION"]) == (
        "models:/m-1a2b",
        "wine",
        "3",
    )


def test_a_version_that_is_registered_again_is_another_revision() -> None:
    again = replace(CREATED, created=1_800_000_000_000)
    assert (
        render.revision(resource(), CREATED, SETTINGS).name
        != render.revision(resource(), again, SETTINGS).name
    )


@pytest.mark.parametrize(
    "model",
    [
        replace(MODEL, name="wine", python_version="3.12"),
        replace(LOGGED, python_version="3.11"),
        replace(CREATED, python_version="3.11"),
        ModelVersion("models:/m-1a2b", "models:/m-1a2b", "m-1a2b", "http://m", None, "3.11"),
        ModelVersion("runs:/0a1b/model", "runs:/0a1b/model", "0a1b", "http://m", None, "3.11"),
        ModelVersion("s3://models/wine", "s3://models/wine", "-", None, None, "3.11"),
    ],
)
@pytest.mark.parametrize("server", [{}, CUSTOM])
def test_a_deployment_says_which_model_it_serves(model: ModelVersion, server: Json) -> None:
    """So the revision can be rendered again where the status is lost."""
    given = resource(server=server)
    revision = render.live_revision(deployment_of(given, model), SETTINGS)
    assert revision is not None
    python = None if server else model.python_version
    assert revision.model == replace(model, requested=model.uri, python_version=python)
    assert render.revision(given, revision.model, SETTINGS).name == revision.name


@pytest.mark.parametrize(
    "edit",
    [
        lambda deployment: deployment.pop("spec"),
        lambda deployment: deployment["spec"]["template"]["spec"].pop("containers"),
        lambda deployment: deployment["spec"]["template"]["spec"]["containers"][0].pop("env"),
    ],
)
def test_a_deployment_that_is_none_of_ours_says_nothing(edit: Callable[[Json], None]) -> None:
    deployment = deployment_of(resource())
    edit(deployment)
    assert render.live_revision(deployment, SETTINGS) is None
