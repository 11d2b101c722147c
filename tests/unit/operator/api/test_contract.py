"""The operator and the scoring server mean the same variables, ports and folders."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml

from mlflow_model_operator.api import contract
from mlflow_model_operator.api.contract import Variable
from mlflow_model_operator.api.generate import crd
from mlflow_model_operator.api.resource import InvalidResource, MLflowModelDeployment
from mlflow_model_operator.api.spec import EnvVar
from mlflow_model_server.settings import Settings, from_environment
from tests.golden.test_golden import CASES, FOLDER, objects

# Read by others in the containers: Python's TLS, MLflow, its image, the C library.
READ_BY_OTHERS = {
    Variable.SSL_CERT_FILE,
    Variable.REQUESTS_CA_BUNDLE,
    Variable.MLFLOW_TRACKING_URI,
    Variable.MLFLOW_MODELS_WORKERS,
    Variable.HOME,
}


class Recorder(Mapping[str, str]):
    """An empty environment that records what it is asked for."""

    def __init__(self) -> None:
        self.names: set[str] = set()

    def __getitem__(self, name: str) -> str:
        self.names.add(name)
        raise KeyError(name)

    def __iter__(self) -> Iterator[str]:
        return iter(())

    def __len__(self) -> int:
        return 0


def variables_of_the_server() -> set[str]:
    recorder = Recorder()
    from_environment(recorder)
    return recorder.names


def test_the_server_reads_what_the_operator_sets() -> None:
    missing = set(Variable) - READ_BY_OTHERS - variables_of_the_server()
    assert not missing


def test_each_setting_of_the_server_is_either_the_operators_or_the_users() -> None:
    assert variables_of_the_server() - set(Variable) == contract.USER_VARIABLES
    assert not contract.USER_VARIABLES & set(Variable)


def test_the_ports_and_folders_are_the_servers() -> None:
    assert Settings.port == contract.HTTP_PORT
    assert Settings.metrics_port == contract.METRICS_PORT
    assert Path(contract.MODEL_DIR) == Settings.model_dir
    assert from_environment({"GRPC_PORT": str(contract.GRPC_PORT)}).grpc_port == contract.GRPC_PORT


@pytest.mark.parametrize("case", CASES)
def test_the_pods_have_no_other_variables_than_these_and_the_users(case: str) -> None:
    for container in containers(case):
        names = [variable["name"] for variable in container["env"]]
        assert len(names) == len(set(names))
        assert set(names) <= set(Variable) | users_variables(case)


def containers(case: str) -> Iterator[dict[str, Any]]:
    for obj in objects(case):
        if obj["kind"] == "Deployment":
            pod = obj["spec"]["template"]["spec"]
            yield from [*pod.get("initContainers", ()), *pod["containers"]]


def users_variables(case: str) -> set[str]:
    resource = yaml.safe_load((FOLDER / case / "input.yaml").read_text())["resource"]
    return {variable["name"] for variable in resource["spec"].get("server", {}).get("env", ())}


@pytest.mark.parametrize("variable", Variable)
def test_a_variable_of_the_operators_is_refused(variable: Variable) -> None:
    spec = {
        "model": {"uri": "models:/wine/1"},
        "server": {"grpc": True, "env": [{"name": variable.value, "value": "9999"}]},
    }
    with pytest.raises(InvalidResource) as refusal:
        MLflowModelDeployment.parse({"metadata": {"name": "wine"}, "spec": spec})
    sentence = f"spec.server.env[0].name: {variable} is set by the operator: "
    assert str(refusal.value).startswith(sentence)
    assert str(refusal.value).removeprefix(sentence) in (
        "leave it out",
        f"write {contract.FIELDS.get(variable)} instead",
    )


def test_the_crd_refuses_the_same_variables() -> None:
    rule = EnvVar.RULES[-1].to_schema()
    for variable in Variable:
        assert f"'{variable}'" in rule["rule"]
        assert variable in rule["message"]


@pytest.mark.parametrize("name", sorted(contract.USER_VARIABLES))
def test_the_other_settings_of_the_server_are_the_users(name: str) -> None:
    assert EnvVar(name=name, value="1").name == name


def test_the_fields_to_write_instead_exist() -> None:
    spec = crd.root_schema()["properties"]
    for field in contract.FIELDS.values():
        schema: dict[str, Any] = {"properties": spec}
        for part in field.split("."):
            schema = schema["properties"][part]
