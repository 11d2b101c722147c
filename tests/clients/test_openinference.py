"""The Open Inference Protocol over REST, as Triton's client and MLServer's codecs speak it."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
from sklearn.datasets import load_wine
from tritonclient import http as triton
from tritonclient.utils import InferenceServerException

from tests.clients.conftest import Wine
from tests.clients.runner import HERE, Unavailable, mlserver_python, output, unavailable

ROWS, LABELS = load_wine(return_X_y=True, as_frame=True)
MLSERVER = "mlserver"


@pytest.fixture
def client(wine: Wine) -> Any:
    return triton.InferenceServerClient(wine.url.removeprefix("http://"))


def tensor(rows: Any, binary: bool) -> Any:
    values = triton.InferInput("rows", list(rows.shape), "FP64")
    values.set_data_from_numpy(rows.to_numpy(), binary_data=binary)
    return values


def test_triton_asks_for_health_and_metadata(client: Any) -> None:
    assert client.is_server_live() and client.is_server_ready()
    assert client.is_model_ready("wine", "3") and not client.is_model_ready("beer")
    inputs = client.get_model_metadata("wine")["inputs"]
    assert [field["name"] for field in inputs] == list(ROWS.columns)


def test_triton_lists_the_models(client: Any) -> None:
    assert "model_repository" in client.get_server_metadata()["extensions"]
    assert client.get_model_repository_index() == [
        {"name": "wine", "version": "3", "state": "READY", "reason": ""}
    ]


@pytest.mark.parametrize("call", ["load_model", "unload_model"])
def test_triton_neither_loads_nor_unloads(client: Any, call: str) -> None:
    with pytest.raises(InferenceServerException, match="loads and unloads nothing") as refused:
        getattr(client, call)("wine")
    assert refused.value.status() == "400"
    assert client.is_model_ready("wine")


@pytest.mark.parametrize("binary", [True, False])
@pytest.mark.parametrize("encoding", [None, "gzip", "deflate"])
def test_triton_sends_rows(client: Any, binary: bool, encoding: str | None) -> None:
    answer = client.infer("wine", [tensor(ROWS, binary)], request_compression_algorithm=encoding)
    (output,) = answer.get_response()["outputs"]
    assert np.mean(answer.as_numpy(output["name"]) == LABELS) > 0.95


def test_triton_sends_a_hundred_requests_and_many_rows(client: Any) -> None:
    for _ in range(100):
        client.infer("wine", [tensor(ROWS.head(1), binary=True)])
    many = ROWS.sample(20_000, replace=True, random_state=0)
    answer = client.infer("wine", [tensor(many, binary=True)])
    assert answer.get_response()["outputs"][0]["shape"][0] == 20_000


def test_triton_is_refused_in_few_words(client: Any) -> None:
    words = triton.InferInput("alcohol", [1], "BYTES")
    words.set_data_from_numpy(np.array(["secret" * 20_000], object))
    with pytest.raises(InferenceServerException) as refused:
        client.infer("wine", [words])
    assert refused.value.status() == "400"
    assert "secretsecret" not in str(refused.value) and len(str(refused.value)) < 500


def test_mlserver_encodes_and_decodes(wine: Wine) -> None:
    try:
        python = mlserver_python(MLSERVER)
    except Unavailable as error:
        unavailable(MLSERVER, error)
    rows = ROWS.head(3).to_json(orient="split")
    answers = json.loads(output([python, str(HERE / "mlserver_client.py"), wine.url], input=rows))
    assert answers["pandas"] == answers["numpy"] == [0, 0, 0]
    assert answers["response"] == 3
    assert answers["index"] == [["wine", "3", "READY"]]
    status, message = answers["wrong"]
    assert status == 400 and 0 < len(message) < 500
