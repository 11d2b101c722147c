"""The paths of the Open Inference Protocol."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest

from mlflow_model_server.codecs.metadata import Spec, spec_of
from mlflow_model_server.http.app import Application
from mlflow_model_server.inference.routes import resolve
from tests.parity.asgi import Answer, Request, Server
from tests.unit.server.codecs.test_openinference import WINE, tensor
from tests.unit.server.http.stub_server import application


async def double(data: Any, params: dict[str, Any]) -> Any:
    return np.asarray(data)[:, 0] * 2 * params.get("scale", 1)


SERVED = application("wine", "3", spec_of(WINE), double)


def get(path: str, method: str = "GET", body: bytes = b"", app: Application = SERVED) -> Answer:
    with Server(app) as server:
        return server.answer(Request(path, body, method=method, path=path))


def test_the_server_and_its_model_are_described() -> None:
    assert json.loads(get("/v2").body)["extensions"] == [
        "binary_tensor_data",
        "model_repository",
    ]
    assert get("/v2/health/live").status == get("/v2/health/ready").status == 200
    told = json.loads(get("/v2/models/wine").body)
    assert told["versions"] == ["3"]
    assert told["inputs"][0] == {
        "name": "alcohol",
        "datatype": "FP64",
        "shape": [-1, 1],
        "parameters": {"content_type": "pd"},
    }
    for path in ("/v2/models/wine/ready", "/v2/models/wine/versions/3/ready"):
        assert json.loads(get(path).body) == {"name": "wine", "ready": True}


def test_readiness_follows_the_model() -> None:
    stuck = application("", "", Spec(), double, stuck=60.0)
    assert get("/v2/health/live", app=stuck).status == 200
    for path in ("/v2/health/ready", "/v2/models/mlflow-model/ready"):
        assert get(path, app=stuck).status == 503


@pytest.mark.parametrize("body", [b"", b"{}", b'{"ready": true}', b'{"ready": null}'])
def test_the_models_are_listed(body: bytes) -> None:
    path = "/v2/repository/index"
    listed = json.loads(get(path, "POST", body).body)
    assert listed == [{"name": "wine", "version": "3", "state": "READY", "reason": ""}]
    stuck = application("", "", Spec(), double, stuck=60.0)
    listed = json.loads(get(path, "POST", body, stuck).body)
    assert [each["state"] for each in listed] == ([] if b"true" in body else ["UNAVAILABLE"])


@pytest.mark.parametrize("path", ["/v2/models/wine/infer", "/v2/models/wine/versions/3/infer"])
def test_a_prediction(path: str) -> None:
    body = {
        "inputs": [tensor("x", "FP64", [2, 2], [1, 2, 3, 4])],
        "parameters": {"scale": 10},
    }
    answer = get(path, "POST", json.dumps(body).encode())
    assert answer.status == 200 and resolve(path).label == "/v2/models/{model}/infer"
    assert json.loads(answer.body)["outputs"] == [
        {"name": "class", "datatype": "FP64", "shape": [2], "data": [20, 60]}
    ]


@pytest.mark.parametrize(
    ("method", "path", "status", "sentence"),
    [
        ("GET", "/v2/models/beer", 404, "there is no model 'beer' here: write 'wine'"),
        ("GET", "/v2/models/wine/versions/4", 404, "there is no version '4' of 'wine' here"),
        ("GET", "/v2/else", 404, "there is no /v2/else"),
        ("GET", "/v2/models/wine/infer", 405, "send POST"),
        ("POST", "/v2/health/live", 405, "send GET"),
        ("POST", "/v2/models/wine/infer", 400, "the body is not JSON"),
        ("GET", "/v2/repository/index", 405, "send POST"),
        ("POST", "/v2/repository/models/wine/load", 400, "change spec.model.uri"),
        ("POST", "/v2/repository/models/beer/unload", 400, "change spec.model.uri"),
        ("POST", "/v2/repository/models/wine", 404, "there is no /v2/repository/models/wine"),
    ],
)
def test_what_is_wrong_is_said(method: str, path: str, status: int, sentence: str) -> None:
    answer = get(path, method)
    assert answer.status == status
    assert sentence in json.loads(answer.body)["error"]


@pytest.mark.parametrize("body", [b"x", b"[]", b'{"ready": 1}', b'{"ready": {}}', b" " * 5000])
def test_an_index_is_asked_for_in_few_words(body: bytes) -> None:
    answer = get("/v2/repository/index", "POST", body)
    assert answer.status == 400 and '{"ready": true}' in json.loads(answer.body)["error"]
