"""Requests made up from the OpenAPI document, right and wrong ones, against a real server."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings

from mlflow_model_server import openapi
from tests.unit.server import models
from tests.unit.server.process import serving

schemathesis = pytest.importorskip("schemathesis")
checks = schemathesis.checks

API = schemathesis.openapi.from_dict(openapi.document("wine", "3"))
OPERATIONS = [found.ok() for found in API.get_all_operations()]


# Not that all which fits the document is accepted: it can't say that shapes fit the data.
CHECKS = [
    checks.not_a_server_error,
    checks.status_code_conformance,
    checks.content_type_conformance,
    checks.response_schema_conformance,
    checks.negative_data_rejection,
]


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
        pytest.param(one, mode, id=f"{one.label} {mode.value}")
        for one in OPERATIONS
        for mode in schemathesis.GenerationMode
        # Of a request without a body, nothing can be wrong.
        if mode.is_positive or one.method == "post"
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
