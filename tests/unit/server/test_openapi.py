"""Requests made up from the OpenAPI document, right and wrong ones, against a real server."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings

from mlflow_model_server import openapi
from mlflow_model_server.inference import routes
from mlflow_model_server.model.agents import AgentKind
from tests.unit.server import models
from tests.unit.server.process import serving

schemathesis = pytest.importorskip("schemathesis")
checks = schemathesis.checks

API = schemathesis.openapi.from_dict(openapi.document("wine", "3"))
OPERATIONS = [result.ok() for result in API.get_all_operations()]


# Not that all which fits the document is accepted: it can't say that shapes fit the data.
CHECKS = [
    checks.not_a_server_error,
    checks.status_code_conformance,
    checks.content_type_conformance,
    checks.response_schema_conformance,
    checks.negative_data_rejection,
]


def test_the_document_asks_for_keys_where_the_server_does() -> None:
    agents = [openapi.document("wine", "3", True, kind)["paths"] for kind in (None, *AgentKind)]
    for path, methods in itertools.chain.from_iterable(paths.items() for paths in agents):
        for method, operation in methods.items():
            is_open = routes.resolve(path).is_open
            assert ("security" not in operation) == is_open, f"{method} {path}"
            assert ("401" not in operation["responses"]) == is_open, f"{method} {path}"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory, unused_tcp_port_factory: Any) -> Iterator[str]:
    """The address of a server with a model of two columns."""
    folder = tmp_path_factory.mktemp("fuzz")
    models.save_colours(folder / "artifact")
    port = unused_tcp_port_factory()
    with serving(folder, port, MODEL_URI="models:/wine/3") as running:
        yield running.url("")
        assert running.answers(), "the server does not answer any more"


@pytest.mark.parametrize(
    ("operation", "mode"),
    [
        pytest.param(operation, mode, id=f"{operation.label} {mode.value}")
        for operation in OPERATIONS
        for mode in schemathesis.GenerationMode
        # Of a request without a body, nothing can be wrong.
        if mode.is_positive or operation.method == "post"
    ],
)
def test_no_request_is_answered_other_than_documented(
    server: str, operation: Any, mode: Any
) -> None:
    @settings(max_examples=40, deadline=None, suppress_health_check=list(HealthCheck))
    @given(operation.as_strategy(generation_mode=mode))
    def check(case: Any) -> None:
        case.call_and_validate(base_url=server, checks=CHECKS)

    check()
