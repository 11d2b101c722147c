"""What goes wrong ends in a condition that says so, and what serves goes on serving."""

from __future__ import annotations

import pytest

from tests.integration.control_plane import free_port
from tests.integration.operator.conftest import World


@pytest.mark.parametrize(
    ("uri", "reason", "fix"),
    [
        ("models:/nobody-{model}@champion", "ModelNotFound", "register it"),
        ("models:/{model}/99", "VersionNotFound", "use another version"),
        (
            "models:/{model}@nobody",
            "AliasNotFound",
            "has no alias 'nobody': set the alias on a version",
        ),
        ("models:/{model}/Production", "StageEmpty", "move one to it"),
        ("models:/m-0123456789abcdef0123456789abcdef", "LoggedModelNotFound", "correct the id"),
        ("runs:/0123456789abcdef0123456789abcdef/model", "RunNotFound", "correct the id"),
    ],
)
def test_a_uri_that_means_nothing_says_what_is_missing(
    world: World, uri: str, reason: str, fix: str
) -> None:
    world.apply({"model": {"uri": uri.format(model=world.model)}})
    condition = world.until_condition("ModelResolved", "False", reason)
    assert fix in condition["message"]
    world.until_condition("Available", "False", "ModelUnresolved")
    world.until_condition("Ready", "False", reason)


def test_a_python_that_no_image_has_is_named_before_anything_starts(world: World) -> None:
    """The operator of the tests has a scoring image for Python 3.11 only."""
    model = f"pickled-{world.namespace}"
    pickled, from_code = (
        "flavors:\n  python_function:\n    loader_module: mlflow.pyfunc.model\n"
        f"    {field}\n    python_version: 3.13.1\n"
        for field in ("python_model: python_model.pkl", "model_code_path: model.py")
    )
    world.mlflow.register_with_files(model, pickled, from_code)
    world.apply({"model": {"uri": f"models:/{model}/1"}})
    condition = world.until_condition("ModelResolved", "False", "PythonVersionUnsupported")
    assert condition["message"].startswith(
        f"models:/{model}/1 was logged with Python 3.13.1, and no other Python loads its code; "
        "there are scoring images for 3.11: log it again with one of these, build one for 3.13"
    )
    world.until_condition("Ready", "False", "PythonVersionUnsupported")
    world.until_condition("Stalled", "True", "PythonVersionUnsupported")
    assert not world.children("deployments")

    world.apply({"model": {"uri": f"models:/{model}/2"}})
    condition = world.until_condition("ModelResolved", "True", "Resolved")
    assert "logged with Python 3.13.1 and runs with Python 3.11" in condition["message"]


def test_an_unreachable_registry_is_named(world: World) -> None:
    server = f"http://127.0.0.1:{free_port()}"
    world.apply({"model": {"uri": "models:/wine/1", "trackingUri": server}})
    condition = world.until_condition("ModelResolved", "False", "RegistryUnreachable")
    assert server in condition["message"]


def test_a_server_that_is_no_mlflow_is_named(world: World) -> None:
    world.apply({"model": {"uri": "models:/wine/1", "trackingUri": f"{world.mlflow.url}/nothing"}})
    condition = world.until_condition("ModelResolved", "False", "RegistryError")
    assert "correct the tracking URI" in condition["message"]


def test_a_deleted_alias_leaves_the_version_serving(world: World) -> None:
    world.given_wine_is_served()
    world.mlflow.drop_alias(world.model, "champion")
    world.until_condition("ModelResolved", "False", "AliasNotFound")
    assert world.condition("Available")["status"] == "True"
    assert "still served" in world.condition("ModelResolved")["message"]

    world.mlflow.point(world.model, "champion", "1")
    world.until_condition("Ready", "True", "Ready")


def test_a_name_that_is_taken_is_not_taken_over(world: World) -> None:
    service = {
        "metadata": {"name": "wine"},
        "spec": {"selector": {"app": "old"}, "ports": [{"port": 80}]},
    }
    path = f"/api/v1/namespaces/{world.namespace}/services"
    assert world.api.request("POST", path, service).ok

    world.apply({"model": {"uri": f"models:/{world.model}@champion"}})

    condition = world.until_condition("Available", "False", "NameTaken")
    assert "delete it or name this resource differently" in condition["message"]
    assert world.children("services")["wine"]["spec"]["selector"] == {"app": "old"}


def test_without_the_gateway_api_the_route_is_refused_and_the_service_serves(world: World) -> None:
    world.apply(
        {
            "model": {"uri": f"models:/{world.model}@champion"},
            "routing": {"gateway": {"name": "shared"}, "hostnames": ["wine.example.com"]},
        }
    )
    revision = world.until_revision_of("1")
    world.set_ready(revision)
    condition = world.until_condition("RouteAccepted", "False", "GatewayApiMissing")
    assert "install it" in condition["message"]
    world.until_condition("Available", "True", "MinimumReplicasAvailable")
    world.until_condition("Ready", "False", "GatewayApiMissing")


def test_a_shape_that_only_kubernetes_knows_is_refused_with_its_words(world: World) -> None:
    world.apply(
        {
            "model": {"uri": f"models:/{world.model}@champion"},
            "pod": {"affinity": {"nodeAffinity": {"nonsense": 1}}},
        }
    )
    condition = world.until_condition("Available", "False", "ApplyRefused")
    assert "nonsense" in condition["message"]


def test_an_unresolved_canary_does_not_touch_the_stable_version(world: World) -> None:
    spec = {"model": {"uri": f"models:/{world.model}@champion"}}
    revision = world.given_wine_is_served(spec)
    world.apply({**spec, "canary": {"uri": f"models:/{world.model}@nobody", "weight": 50}})
    world.until_condition("CanaryReady", "False", "AliasNotFound")
    world.until_condition("TrafficSplit", "False", "CanaryUnresolved")
    assert set(world.children("deployments")) == {revision}
    assert world.condition("Available")["status"] == "True"


def test_one_bad_resource_does_not_hold_up_another(world: World) -> None:
    world.apply({"model": {"uri": f"models:/{world.model}@nobody"}}, name="bad")
    world.given_wine_is_served()
    world.until_condition("ModelResolved", "False", "AliasNotFound", name="bad")
