"""What is wrong is refused by the API server, with the sentence that a user needs."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from mlflow_model_operator.api.generate import crd
from mlflow_model_operator.api.schema import VALIDATIONS
from tests.integration.control_plane import ApiServer
from tests.integration.crd.resources import MINIMAL, as_yaml, create, created, merged, read

TABLE: list[dict[str, Any]] = yaml.safe_load(
    (Path(__file__).parent / "invalid.yaml").read_text(encoding="utf-8")
)
# What the API server adds where a wrong type or a missing field kept it from looking further.
NOT_ALL_CHECKED = "some validation rules were not checked because the object was invalid"


def resource_of(case: dict[str, Any]) -> dict[str, Any]:
    change = json.dumps(case["change"]).replace("<2100 letters>", "x" * 2100)
    resource: dict[str, Any] = merged(MINIMAL, json.loads(change))
    return resource


def complaints(refusal: dict[str, Any]) -> set[str]:
    """The fields that the API server complains about."""
    causes = refusal.get("details", {}).get("causes", [])
    fields = {cause["field"] for cause in causes if NOT_ALL_CHECKED not in cause["message"]}
    return {field.removeprefix(".") for field in fields if field != "<nil>"}


@pytest.mark.parametrize("case", TABLE, ids=[case["case"] for case in TABLE])
def test_refused_with_a_sentence(case: dict[str, Any], crds: ApiServer) -> None:
    response = create(crds, "default", resource_of(case))

    assert response.status_code in (400, 422), response.text
    refusal = response.json()
    for part in case["expected"]:
        assert part in refusal["message"]
    assert len(complaints(refusal)) <= 1, f"more than one complaint: {refusal['message']}"


def test_every_rule_of_the_crd_is_in_the_table() -> None:
    said = [part for case in TABLE for part in case["expected"] if " " in part]
    rules = list(messages(crd.root_schema()))
    assert [rule for rule in rules if not any(part in rule for part in said)] == []


def messages(schema: dict[str, Any]) -> Iterator[str]:
    """The sentences of all CEL rules, from the root of the schema down."""
    yield from (rule["message"] for rule in schema.get(VALIDATIONS, ()))
    parts = [*schema.get("properties", {}).values(), schema.get("items")]
    for part in (*parts, schema.get("additionalProperties")):
        if part is not None:
            yield from messages(part)


def test_a_wrong_change_leaves_the_resource_and_those_beside_it_as_they_were(
    crds: ApiServer, namespace: str
) -> None:
    wine = created(crds, namespace, MINIMAL)
    tea = created(crds, namespace, merged(MINIMAL, {"metadata": {"name": "tea"}}))
    broken = merged(MINIMAL, {"spec": {"scaling": {"minReplicas": 5, "maxReplicas": 3}}})
    nameless = merged(MINIMAL, {"metadata": {"name": "milk"}, "spec": {"model": {"uri": "milk"}}})

    output = crds.kubectl(
        "apply", "--namespace", namespace, "--filename", "-",
        given=f"{as_yaml(broken)}\n---\n{as_yaml(nameless)}\n", check=False,
    )  # fmt: skip

    assert "minReplicas (5) is above maxReplicas (3)" in output
    assert "write for example models:/wine@champion" in output
    assert read(crds, namespace, "wine")["spec"] == wine["spec"]
    assert read(crds, namespace, "tea") == tea


def test_kubectl_names_an_unknown_field(crds: ApiServer, namespace: str) -> None:
    typing_error = merged(MINIMAL, {"spec": {"scaling": {"maxReplica": 3}}})
    output = crds.kubectl(
        "apply", "--namespace", namespace, "--filename", "-",
        given=as_yaml(typing_error), check=False,
    )  # fmt: skip
    assert 'unknown field "spec.scaling.maxReplica"' in output
