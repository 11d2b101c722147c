"""Requests made up from the OpenAPI document, right and wrong ones, against a real server."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from mlflow.models import ModelSignature
from mlflow.types import Schema
from mlflow.types.schema import ColSpec

from mlflow_model_server import openapi
from mlflow_model_server.openinference.metadata import spec_of
from mlflow_model_server.openinference.routes import Served
from tests.unit.scoring.openinference_app import serving

schemathesis = pytest.importorskip("schemathesis")
checks = schemathesis.checks

SIGNATURE = ModelSignature(
    inputs=Schema([ColSpec("double", "alcohol"), ColSpec("string", "colour")])
)


async def first_column(data: Any, params: dict[str, Any]) -> Any:
    """Takes anything, so that what fails is the protocol and not the model."""
    if isinstance(data, dict):
        return data
    return np.asarray(data)


SERVED = Served("wine", "3", spec_of(SIGNATURE), ready=lambda: True, predict=first_column)


API = schemathesis.openapi.from_dict(openapi.document("wine", "3")).include(path_regex="^/v2")
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
def url() -> Iterator[str]:
    with serving(SERVED) as address:
        yield f"http://{address}"


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
def test_no_request_is_answered_other_than_documented(url: str, operation: Any, mode: Any) -> None:
    @settings(max_examples=40, deadline=None, suppress_health_check=list(HealthCheck))
    @given(operation.as_strategy(generation_mode=mode))
    def check(case: Any) -> None:
        case.call_and_validate(base_url=url, checks=CHECKS)

    check()
