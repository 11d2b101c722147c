"""Single values, by the CEL rules that the CRD has for them; RE2 and Python agree on these."""

from __future__ import annotations

import ast
import json
import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlflow_model_operator.api.generate import crd
from mlflow_model_operator.api.schema import VALIDATIONS

# Of the Gateway API's HTTPRoute: spec.rules[].matches[].path.
HTTP_ROUTE_PATH = re.compile(r"^(?:[-A-Za-z0-9/._~!$&'()*+,;=:@]|[%][0-9a-fA-F]{2})+$")
FIELDS = {
    "spec.model.trackingUri": "http://mlflow:5000",
    "spec.dependencies.indexUrl": "https://pypi.example.com/simple",
    "spec.dependencies.findLinks": "https://pypi.example.com/wheels",
}


def accepts(field: str, value: str) -> bool:
    """Whether all rules of a field let a value pass."""
    schema: dict[str, Any] = crd.root_schema()
    for name in field.split("."):
        schema = schema["properties"][name]
    return all(_holds(rule["rule"], value) for rule in schema[VALIDATIONS])


def _holds(cel: str, value: str) -> bool:
    parsed = re.fullmatch(r"(!?)self\.matches\((.*)\)", cel)
    assert parsed is not None, cel
    negated, literal = parsed.groups()
    pattern = json.loads(literal) if literal.startswith('"') else ast.literal_eval(literal)
    return (re.search(pattern, value) is not None) != bool(negated)


paths = st.text(st.sampled_from("/ab%2fF[]{}\\é.~?# "), max_size=12).map(lambda text: f"/{text}")


@given(paths)
def test_a_path_that_is_accepted_is_one_of_an_http_route(path: str) -> None:
    assert not accepts("spec.routing.path", path) or HTTP_ROUTE_PATH.fullmatch(path)


@pytest.mark.parametrize("path", ["/", "/wine", "/a/b.c~d!$&'()*+,;=:@", "/w%C3%A9"])
def test_the_paths_of_an_http_route_are_accepted(path: str) -> None:
    assert accepts("spec.routing.path", path)


@pytest.mark.parametrize("path", ["/wine-é", "/a[b]", "/a{b}", "/a\\b", "/100%", "/a//b", "/a/.."])
def test_other_paths_are_refused(path: str) -> None:
    assert not accepts("spec.routing.path", path)


@pytest.mark.parametrize("field", FIELDS)
@pytest.mark.parametrize("userinfo", ["me:hunter2@", "token@", ":secret@", "a@b@"])
def test_a_url_with_credentials_is_refused(field: str, userinfo: str) -> None:
    url = FIELDS[field]
    assert accepts(field, url)
    assert not accepts(field, url.replace("://", f"://{userinfo}"))
    # After the host it is part of the path.
    assert accepts(field, f"{url}/a@b")


@pytest.mark.parametrize("rest", ["?name=x", "#x", "/path?x", "/path#x"])
def test_a_tracking_uri_has_neither_query_nor_fragment(rest: str) -> None:
    assert not accepts("spec.model.trackingUri", f"http://mlflow:5000{rest}")
    assert accepts("spec.model.trackingUri", "http://mlflow:5000/path/")
