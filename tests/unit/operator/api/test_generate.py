"""What is generated from the models: the CRD and the reference."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from mlflow_model_operator.api.generate import crd, reference
from mlflow_model_operator.api.generate.freshness import write_or_check

ROOT = Path(__file__).parents[4]
CRD_FILE = ROOT / "crds" / "mlflow-model-operator.dev_mlflowmodeldeployments.yaml"

# A structural schema may hold these and x-kubernetes-…; no reference, no title, no null.
STRUCTURAL = {
    "description", "type", "format", "anyOf", "enum", "default", "minimum", "maximum", "minLength",
    "maxLength", "minItems", "maxItems", "maxProperties", "required", "items",
    "additionalProperties", "properties",
}  # fmt: skip


def nodes(schema: dict[str, Any], path: str = "") -> Iterator[tuple[str, dict[str, Any]]]:
    yield path, schema
    for name, part in schema.get("properties", {}).items():
        yield from nodes(part, f"{path}.{name}")
    if "items" in schema:
        yield from nodes(schema["items"], f"{path}[]")
    if "additionalProperties" in schema:
        yield from nodes(schema["additionalProperties"], f"{path}.*")


SCHEMA = dict(nodes(crd.root_schema()))


def test_the_files_are_fresh(capsys: pytest.CaptureFixture[str]) -> None:
    assert write_or_check(crd.text(), ["--check", str(CRD_FILE)]) == 0, capsys.readouterr().err
    page = ROOT / "docs" / "reference.md"
    assert write_or_check(reference.text(), ["--check", str(page)]) == 0, capsys.readouterr().err


def test_a_stale_file_is_reported(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    stale = tmp_path / "crd.yaml"
    stale.write_text("old")
    assert write_or_check(crd.text(), ["--check", str(stale)]) == 1
    assert write_or_check(crd.text(), ["--check", str(tmp_path / "none")]) == 1
    assert "run `make generate`" in capsys.readouterr().err


def test_the_file_holds_the_definition() -> None:
    assert yaml.safe_load(crd.text()) == crd.definition()


def test_the_schema_is_structural() -> None:
    for path, node in SCHEMA.items():
        assert {key for key in node if not key.startswith("x-kubernetes-")} <= STRUCTURAL, path
        assert "type" in node or node.get("x-kubernetes-int-or-string"), path


def test_every_field_is_described() -> None:
    fields = {path for path in SCHEMA if not path.endswith(("[]", ".*", ".metadata"))}
    assert [path for path in fields if not SCHEMA[path]["description"].strip()] == []


def test_everything_in_spec_is_bounded() -> None:
    """Else the cost of a CEL rule cannot be told, and the API server refuses the CRD."""
    for path, node in SCHEMA.items():
        if not path.startswith(".spec"):
            continue
        if node.get("type") == "string":
            assert "maxLength" in node or "enum" in node, path
        if node.get("type") == "array":
            assert {"maxItems", "x-kubernetes-list-type"} <= node.keys(), path
        if "additionalProperties" in node:
            assert "maxProperties" in node, path


def test_no_part_of_status_has_a_default() -> None:
    assert [p for p, node in SCHEMA.items() if p.startswith(".status.") and "default" in node] == []


def test_a_resource_that_nobody_has_looked_at_is_not_taken_for_finished() -> None:
    assert SCHEMA[".status"]["default"] == {"observedGeneration": -1}


def test_defaults_are_nested_so_that_scale_works_on_the_smallest_resource() -> None:
    assert SCHEMA[".spec.scaling"]["default"] == {}
    assert SCHEMA[".spec.scaling.minReplicas"]["default"] == 1


def test_only_defaults_that_say_something_are_written() -> None:
    written = {path for path, node in SCHEMA.items() if "default" in node}
    assert written == {
        ".spec.server",
        ".spec.server.workers",
        ".spec.server.resources",
        ".spec.server.startupTimeout",
        ".spec.server.storage",
        ".spec.server.storage.model",
        ".spec.server.storage.tmp",
        ".spec.dependencies.caConfigMap.key",
        ".spec.access.apiKeysSecret.key",
        ".spec.rollout.gates.inputExample.timeout",
        ".spec.gpu.resource",
        ".spec.scaling",
        ".spec.scaling.minReplicas",
        ".spec.shadow.percent",
        ".spec.shadow.timeout",
        ".spec.shadow.maxBodySize",
        ".spec.shadow.examples",
        ".spec.shadow.replicas",
        ".spec.rollout.steps[].shadow.percent",
        ".spec.rollout.freeze[].timeZone",
        ".spec.rollout.analysis.interval",
        ".spec.rollout.analysis.minRequests",
        ".spec.rollout.analysis.confidence",
        ".spec.rollout.analysis.failureLimit",
        ".spec.rollout.analysis.onInconclusive",
        ".spec.rollout.analysis.errors",
        ".spec.rollout.analysis.clientErrors",
        ".spec.rollout.analysis.latency[].percentile",
        ".spec.rollout.analysis.staleness.percentile",
        ".spec.rollout.analysis.predictions.maxPsi",
        ".spec.routing",
        ".spec.routing.path",
        ".spec.routing.timeout",
        ".spec.routing.sticky.cookie",
        ".spec.routing.sticky.maxAge",
        ".status",
    }


def test_the_reference_names_every_field() -> None:
    page = reference.text()
    names = {path.rpartition(".")[2] for path in SCHEMA if path.count(".") > 1}
    fields = {name for name in names if name.isidentifier()}
    assert [name for name in fields if f"| `{name}` |" not in page] == []
