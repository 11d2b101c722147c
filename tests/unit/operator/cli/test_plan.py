"""`kubectl mmd plan` offline; `python -m tests.unit.operator.cli.test_plan` writes its files."""

from __future__ import annotations

import io
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from mlflow_model_operator.cli.commands import Terminal
from mlflow_model_operator.cli.main import main

FOLDER = Path(__file__).parent / "golden"
MANIFESTS = sorted(path.stem for path in FOLDER.glob("plan-*.yaml"))
EXAMPLES = Path(__file__).parents[4] / "examples"


def run(*arguments: str) -> tuple[int, str, str]:
    out, err = io.StringIO(), io.StringIO()
    status = main(arguments, Terminal(out, err))
    return status, out.getvalue(), err.getvalue()


@pytest.fixture(autouse=True)
def _no_settings(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    for name in ("MLFLOW_TRACKING_URI", "MMO_SCORING_IMAGES"):
        monkeypatch.delenv(name, raising=False)
    yield


@pytest.mark.parametrize("name", MANIFESTS)
def test_a_plan_as_people_see_it(name: str) -> None:
    assert run("plan", "-f", str(FOLDER / f"{name}.yaml")) == (
        0,
        (FOLDER / f"{name}.txt").read_text(),
        "",
    )


def test_the_objects_are_printed_for_programs() -> None:
    status, out, _ = run("plan", "-f", str(FOLDER / "plan-steps.yaml"), "-o", "yaml")
    objects = list(yaml.safe_load_all(out))
    assert status == 0
    assert {"Deployment", "Service", "HorizontalPodAutoscaler", "HTTPRoute"} <= {
        obj["kind"] for obj in objects
    }
    listed = yaml.safe_load(run("plan", "-f", str(FOLDER / "plan-steps.yaml"), "-o", "json")[1])
    assert listed["items"] == objects


def test_a_version_and_the_settings_give_the_names_that_the_operator_gives(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://mlflow.mlflow:5000")
    monkeypatch.setenv("MMO_SCORING_IMAGES", '{"3.11": "scoring:3.11"}')
    manifest = str(FOLDER / "plan-steps.yaml")
    out = run("plan", "-f", manifest, "--model-version", "4", "-o", "yaml")[1]
    deployment = next(obj for obj in yaml.safe_load_all(out) if obj["kind"] == "Deployment")
    server = deployment["spec"]["template"]["spec"]["containers"][0]
    env = {entry["name"]: entry.get("value") for entry in server["env"]}
    assert (server["image"], env["MODEL_URI"]) == ("scoring:3.11", "models:/wine/4")
    assert env["MLFLOW_TRACKING_URI"] == "http://mlflow.mlflow:5000"


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (("weight: 10", "weight: 110"), "spec.rollout.steps[0].weight is 110"),
        (("minReplicas", "minReplica"), "spec.scaling.minReplica is not a field"),
        (("models:/wine@champion", "models:wine"), "spec.model.uri"),
        (("name: wine", "name: Wine"), "metadata.name becomes the name of a Service"),
        (("v1alpha1", "v1"), "apiVersion is 'mlflow-model-operator.dev/v1': write"),
        (("MLflowModelDeployment", "Deployment"), "has no MLflowModelDeployment"),
        (("spec:", "spec: ["), "is not YAML"),
    ],
)
def test_what_is_invalid_is_refused_with_a_sentence(
    change: tuple[str, str], sentence: str, tmp_path: Path
) -> None:
    manifest = tmp_path / "wine.yaml"
    manifest.write_text((FOLDER / "plan-steps.yaml").read_text().replace(*change))
    status, out, err = run("plan", "-f", str(manifest))
    assert (status, out) == (1, "")
    assert sentence in err and err.count("\n") == 1
    assert str(manifest) in err


def test_a_file_that_is_not_there_is_named() -> None:
    status, _, err = run("plan", "-f", "/nowhere/wine.yaml")
    assert (status, "/nowhere/wine.yaml" in err) == (1, True)


@pytest.mark.parametrize("example", sorted(path.name for path in EXAMPLES.glob("*.yaml")))
def test_each_example_has_a_plan(example: str) -> None:
    status, out, err = run("plan", "-f", str(EXAMPLES / example))
    assert status == 0, err
    assert "Deployment" in out


if __name__ == "__main__":
    for each in MANIFESTS:
        (FOLDER / f"{each}.txt").write_text(run("plan", "-f", str(FOLDER / f"{each}.yaml"))[1])
