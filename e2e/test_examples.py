"""Every file in examples/ works as it stands."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import openai
import pytest
import yaml

from dev import kube
from dev.kube import kubectl, wait_until
from dev.traffic import Endpoint, Request, RequestFailed, gateway_url
from e2e.models import Facts
from e2e.platform import gpus, packages
from e2e.platform.pods import SCORING_IMAGE
from e2e.steps import (
    DeployedModel,
    children_of,
    given_a_registered_model,
    given_objects,
    grpc_client,
    then_condition,
    then_is_served,
    then_it_answers,
)
from e2e.steps.inside import answers_from_inside

# In examples an image has the name that it has in a registry of the reader's own.
EXAMPLE_IMAGE = "registry.example.com/team/scoring:0.1.0-py3.11"
EXAMPLES = sorted((Path(__file__).parents[1] / "examples").glob("*.yaml"))
# Resources with one host name on one gateway take each other's requests.
pytestmark = pytest.mark.usefixtures("hostname_alone")


def nothing(*_: Any) -> None:
    """Some examples need nothing."""


def answers_through_the_gateway(deployed: DeployedModel, facts: Facts) -> None:
    (hostname,) = deployed.resource["spec"]["routing"]["hostnames"]
    request = Request(Endpoint(hostname), facts.wine_rows[0], facts.wine_columns)
    then_it_answers(deployed, facts.wine_predictions["1"][0], request)


def answers_with_a_key_only(deployed: DeployedModel, facts: Facts) -> None:
    (policy,) = children_of(deployed, kube.NETWORK_POLICY)
    assert policy["spec"]["policyTypes"] == ["Ingress"]
    (hostname,) = deployed.resource["spec"]["routing"]["hostnames"]
    rows, columns = [facts.wine_rows[0]], facts.wine_columns
    keys = {
        "without": None,
        "with a wrong one": {"Authorization": "Bearer 0123456789abcdef-of-nobody"},
        "with a right one": {"Authorization": "Bearer 0123456789abcdef-not-a-secret"},
    }

    def answer(headers: dict[str, str] | None) -> Any:
        try:
            return Endpoint(hostname).predict(rows, columns, headers=headers)
        except RequestFailed as failure:
            return str(failure).split(" ")[0]

    expected = ["401", "401", [facts.wine_predictions["1"][0]]]
    wait_until(
        "an answer for the right key alone",
        lambda: [answer(headers) for headers in keys.values()] == expected,
        seconds=60,
        explain=lambda: str([answer(headers) for headers in keys.values()]),
    )


def answers_over_grpc(deployed: DeployedModel, facts: Facts) -> None:
    answers_through_the_gateway(deployed, facts)
    (hostname,) = deployed.resource["spec"]["routing"]["hostnames"]
    expected = [facts.wine_predictions["1"][0]]
    wait_until(
        "an answer over gRPC",
        lambda: grpc_client.predict(hostname, "wine", facts) == expected,
        seconds=60,
        explain=lambda: str(grpc_client.predict(hostname, "wine", facts)),
    )


def answers_by_onnx(deployed: DeployedModel, facts: Facts) -> None:
    answers_by_its_service(deployed, facts, version="2")
    metrics = metrics_of_its_pod(deployed)
    assert re.search(r"_model_converted_to_onnx{.*} 1$", metrics, re.M)


def metrics_of_its_pod(deployed: DeployedModel) -> str:
    (pod,) = children_of(deployed, kube.POD)
    path = f"/api/v1/namespaces/{deployed.namespace}/pods/{pod['metadata']['name']}:9090/proxy"
    return kubectl("get", "--raw", f"{path}/metrics")


def answers_by_its_service(deployed: DeployedModel, facts: Facts, version: str = "1") -> None:
    request = Request(deployed.endpoint, facts.wine_rows[0], facts.wine_columns)
    answers = answers_from_inside(deployed, 1, request)
    assert set(answers.counts) == {facts.wine_predictions[version][0]}, answers


def splits_the_traffic(deployed: DeployedModel, facts: Facts) -> None:
    then_condition(deployed, "TrafficSplit", "True", "Applied", says=["20 %"])
    answers_through_the_gateway(deployed, facts)


def keeps_users_and_has_testers(deployed: DeployedModel, facts: Facts) -> None:
    splits_the_traffic(deployed, facts)
    then_condition(deployed, "RulesAccepted", "True")
    (hostname,) = deployed.resource["spec"]["routing"]["hostnames"]
    rows, columns = [facts.wine_rows[0]], facts.wine_columns
    tester = {"x-tester": "true"}

    def answers() -> bool:
        predictions = Endpoint(hostname).predict(rows, columns, headers=tester)
        return predictions == [facts.wine_predictions["2"][0]]

    wait_until("a tester gets the challenger", answers, seconds=60)


def shadows_the_challenger(deployed: DeployedModel, facts: Facts) -> None:
    answers_by_its_service(deployed, facts)
    # The kubelet brings a changed ConfigMap to the pods within a minute and a half.
    then_condition(deployed, "ShadowReady", "True", "Shadowing", says=["20 %"], seconds=240)
    answers_by_its_service(deployed, facts)


def has_an_autoscaler(deployed: DeployedModel, facts: Facts) -> None:
    (autoscaler,) = children_of(deployed, kube.AUTOSCALER)
    assert autoscaler["spec"]["maxReplicas"] == 5
    answers_by_its_service(deployed, facts)


def scales_by_requests(deployed: DeployedModel, facts: Facts) -> None:
    (autoscaler,) = children_of(deployed, kube.AUTOSCALER)
    (metric,) = autoscaler["spec"]["metrics"]
    assert f"\n{metric['pods']['metric']['name']}{{" in metrics_of_its_pod(deployed)
    answers_by_its_service(deployed, facts)


def runs_on_the_gpu_node(deployed: DeployedModel, facts: Facts) -> None:
    (pod,) = children_of(deployed, kube.POD)
    limits = pod["spec"]["containers"][-1]["resources"]["limits"]
    assert limits[gpus.RESOURCE] == "1"
    assert pod["spec"]["runtimeClassName"] == gpus.RUNTIME_CLASS
    answers_by_its_service(deployed, facts)


def runs_its_own_image(deployed: DeployedModel, facts: Facts) -> None:
    (pod,) = children_of(deployed, kube.POD)
    assert "initContainers" not in pod["spec"]
    answers_by_its_service(deployed, facts)


def a_gpu_node(_: str, facts: Facts) -> None:
    if not facts.own_cluster:
        pytest.skip("needs a node with a GPU")


def a_bucket(_: str, facts: Facts) -> None:
    if not facts.own_cluster:
        pytest.skip("the S3 server's image is not on this cluster")


def a_private_index(namespace: str, facts: Facts) -> None:
    given_objects(namespace, packages.ca_config_map(facts.authority))
    given_a_registered_model(facts, "needy", name="tasting", champion=1)


def an_agent(_: str, facts: Facts) -> None:
    given_a_registered_model(facts, "agent", name="assistant", champion=1)


def talks_to_openai_s_client(deployed: DeployedModel, _: Facts) -> None:
    (hostname,) = deployed.resource["spec"]["routing"]["hostnames"]
    client = openai.OpenAI(
        base_url=f"{gateway_url()}/v1", api_key="none", default_headers={"Host": hostname}
    )
    wait_until("the gateway leads to the agent", lambda: lists_its_model(client), seconds=60)
    text = "Hello to you"
    assert client.responses.create(model="assistant", input=text).output_text == text
    events = list(client.responses.create(model="assistant", input=text, stream=True))
    deltas = [event.delta for event in events if event.type == "response.output_text.delta"]
    assert deltas == ["Hello ", "to ", "you "]
    assert events[-1].type == "response.completed"


def lists_its_model(client: openai.OpenAI) -> bool:
    try:
        return [model.id for model in client.models.list()] == ["assistant"]
    except openai.APIError:
        return False


def tastes(deployed: DeployedModel, _: Facts) -> None:
    answers = answers_from_inside(deployed, 1)
    assert set(answers.counts) == {packages.VERDICT}, answers


def answers_as_the_test_model(deployed: DeployedModel, _: Facts) -> None:
    answers = answers_from_inside(deployed, 1)
    assert set(answers.counts) == {"1"}, answers


# Example → what must be there before, and what must be so after.
CHECKS: dict[str, tuple[Callable[[str, Facts], None], Callable[[DeployedModel, Facts], None]]] = {
    "ab": (nothing, keeps_users_and_has_testers),
    "access": (nothing, answers_with_a_key_only),
    "agent": (an_agent, talks_to_openai_s_client),
    "autoscaling": (nothing, has_an_autoscaler),
    "autoscaling-requests": (nothing, scales_by_requests),
    "custom-image": (nothing, runs_its_own_image),
    "dependencies": (a_private_index, tastes),
    "gpu": (a_gpu_node, runs_on_the_gpu_node),
    "grpc": (nothing, answers_over_grpc),
    "onnx": (nothing, answers_by_onnx),
    "no-gateway": (nothing, answers_by_its_service),
    "shadow": (nothing, shadows_the_challenger),
    "storage-uri": (a_bucket, answers_as_the_test_model),
    "wine": (nothing, answers_through_the_gateway),
    "wine-canary": (nothing, splits_the_traffic),
}


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda path: path.stem)
def test_example(example: Path, namespace: str, facts: Facts) -> None:
    before, after = CHECKS[example.stem]
    before(namespace, facts)

    text = example.read_text().replace(EXAMPLE_IMAGE, SCORING_IMAGE)
    kubectl("apply", f"--namespace={namespace}", "--filename=-", stdin=text)

    documents = [obj for obj in yaml.safe_load_all(text) if obj]
    (resource,) = (obj for obj in documents if obj["kind"] == kube.RESOURCE.kind)
    deployed = DeployedModel(namespace, resource["metadata"]["name"])
    then_condition(deployed, "Available", "True")
    then_is_served(deployed)
    after(deployed, facts)
