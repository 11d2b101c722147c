"""The resource as the operator reads it."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlflow_model_operator.api.resource import InvalidResource, Key, MLflowModelDeployment


def resource(**spec: Any) -> dict[str, Any]:
    return {
        "apiVersion": "mlflow-model-operator.dev/v1alpha1",
        "kind": "MLflowModelDeployment",
        "metadata": {"name": "wine", "namespace": "models", "uid": "u-1", "generation": 3},
        "spec": {"model": {"uri": "models:/wine@champion"}} | spec,
    }


def refusal(obj: dict[str, Any]) -> str:
    with pytest.raises(InvalidResource) as refused:
        MLflowModelDeployment.parse(obj)
    return str(refused.value)


def test_missing_fields_have_their_defaults() -> None:
    spec = MLflowModelDeployment.parse(resource()).spec

    assert spec.server.workers == 1
    assert spec.server.startup_seconds == 600
    assert spec.server.resources.dump() == {
        "requests": {"cpu": "500m", "memory": "1Gi"},
        "limits": {"memory": "2Gi"},
    }
    assert (spec.scaling.min_replicas, spec.scaling.effective_max_replicas) == (1, 1)
    assert not spec.scaling.is_autoscaled
    assert (spec.routing.path, spec.routing.timeout) == ("/", "30s")
    assert spec.gpu is None
    assert spec.canary is None


def test_identity() -> None:
    parsed = MLflowModelDeployment.parse(resource())

    assert parsed.key == Key("models", "wine")
    assert (parsed.uid, parsed.generation) == ("u-1", 3)


def test_metadata_of_any_shape() -> None:
    obj = resource()
    obj["metadata"] |= {
        "labels": None,
        "annotations": {"a": "b"},
        "managedFields": [{"fieldsV1": {"f:spec": {}}}],
        "ownerReferences": [{}],
        "deletionTimestamp": None,
    }
    assert MLflowModelDeployment.parse(obj).name == "wine"
    del obj["metadata"]
    assert MLflowModelDeployment.parse(obj).key == Key("default", "")


def test_a_metric_scales_between_min_and_max() -> None:
    scaling = {"minReplicas": 2, "maxReplicas": 5, "targetCPUUtilization": 60}
    parsed = MLflowModelDeployment.parse(resource(scaling=scaling)).spec.scaling

    assert parsed.is_autoscaled
    assert (parsed.effective_max_replicas, parsed.target_cpu_utilization) == (5, 60)
    assert parsed.dump() == scaling | {"metrics": [], "behavior": {}}


def test_quantities_become_text() -> None:
    requests = {"cpu": 2, "memory": "4Gi"}
    parsed = MLflowModelDeployment.parse(resource(server={"resources": {"requests": requests}}))
    assert parsed.spec.server.resources.requests == {"cpu": "2", "memory": "4Gi"}


def test_a_volume_keeps_fields_that_only_kubernetes_validates() -> None:
    volume = {"name": "models", "persistentVolumeClaim": {"claimName": "m", "readOnly": True}}
    parsed = MLflowModelDeployment.parse(resource(pod={"volumes": [volume]}))
    assert parsed.spec.pod.volumes[0].dump() == volume


def test_it_is_immutable() -> None:
    spec = MLflowModelDeployment.parse(resource()).spec
    with pytest.raises(ValueError, match="frozen"):
        spec.model.uri = "models:/other/1"  # type: ignore[misc]


@pytest.mark.parametrize(
    ("spec", "expected"),
    [
        ({"colour": "red"}, "spec.colour is not a field of this resource: correct its name"),
        ({"model": {}}, "spec.model.uri is missing: set it"),
        ({"scaling": {"minReplicas": -1}}, "spec.scaling.minReplicas is -1: it should be greater"),
        ({"server": {"env": [{"name": 1}]}}, "spec.server.env[0].name is 1: it should be a valid"),
        ({"server": {"startupTimeout": "10 m"}}, "'10 m' is not a duration: write a number and"),
        ({"canary": {"uri": "models:/wine/1", "weight": 101}}, "spec.canary.weight is 101: it"),
    ],
)
def test_a_sentence_says_where_and_how_to_fix_it(spec: dict[str, Any], expected: str) -> None:
    assert expected in refusal(resource(**spec))


def test_only_the_first_of_many_problems_is_reported() -> None:
    assert refusal(resource(a=1, b=2)).endswith("(1 more in this resource)")


def test_a_long_value_is_cut() -> None:
    assert len(refusal(resource(server={"workers": "x" * 10_000}))) < 200


def test_status_comes_back() -> None:
    status = {
        "observedGeneration": 2,
        "conditions": [{"type": "Available", "status": "True", "reason": "R", "message": "m"}],
        "replicas": 2,
        "stable": {
            "revision": "wine-1",
            "modelVersion": "3",
            "modelUri": "models:/wine/3",
            "requestedUri": "models:/wine@champion",
            "readyReplicas": 0,
        },
        "traffic": [{"revision": "wine-1", "modelVersion": "3", "weight": 100}],
        "variants": [],
        "matched": [],
        "refusedRules": [],
        "history": [],
        "draining": [],
    }
    parsed = MLflowModelDeployment.parse(resource() | {"status": status}).status

    assert parsed.dump() == status
    available = parsed.condition("Available")
    assert available is not None
    assert available.status == "True"
    assert parsed.condition("Ready") is None


@pytest.mark.parametrize(
    "status", [None, {}, {"unknown": 1}, {"stable": {"revision": 1}}, {"traffic": "x"}, []]
)
def test_a_status_that_makes_no_sense_is_as_good_as_none(status: Any) -> None:
    parsed = MLflowModelDeployment.parse(resource() | {"status": status})
    assert parsed.status.stable is None
    assert parsed.status.traffic == []


hostile = st.text(max_size=200) | st.sampled_from(
    ["{{ x }}", "{% raw %}", "a\nb: c", '"', "'", "&anchor", "*anchor", "!!python/x", "\\", "$(X)"]
)


@given(hostile)
def test_any_text_in_a_value_comes_through_unharmed(text: str) -> None:
    env = [{"name": "A", "value": text}]
    pod = {"annotations": {"note": text}, "affinity": {"x": text}}
    spec = MLflowModelDeployment.parse(resource(server={"env": env}, pod=pod)).spec

    assert spec.server.env[0].value == text
    assert spec.pod.annotations == {"note": text}
    assert spec.pod.affinity == {"x": text}


json = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner),
    max_leaves=10,
)


@given(st.dictionaries(st.sampled_from(["model", "server", "gpu", "scaling", "pod", "x"]), json))
def test_any_spec_is_read_or_refused(spec: dict[str, Any]) -> None:
    try:
        MLflowModelDeployment.parse({"spec": spec})
    except InvalidResource as refused:
        assert str(refused).startswith("spec")
