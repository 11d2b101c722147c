"""Published clients of the Open Inference Protocol, and requests as other servers' docs show."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import mlflow
import numpy as np
import pytest
import requests
from mlflow.models import ModelSignature
from mlflow.types import Schema, TensorSpec
from mlflow.types.schema import ColSpec
from sklearn.datasets import load_wine

from mlflow_model_server.codecs import openinference as codec
from mlflow_model_server.codecs.metadata import spec_of
from tests.unit.server import models
from tests.unit.server.http.stub_server import application, serving

triton = pytest.importorskip("tritonclient.http")

COLUMNS = ModelSignature(
    inputs=Schema([ColSpec("double", "alcohol"), ColSpec("string", "colour")]),
    outputs=Schema([ColSpec("string", "label")]),
)
MATRIX = ModelSignature(inputs=Schema([TensorSpec(np.dtype("float64"), (-1, 3))]))


async def labelled(frame: Any, params: dict[str, Any]) -> Any:
    return [f"{row.colour} {row.alcohol:g}" for row in frame.itertuples()]


async def summed(array: Any, params: dict[str, Any]) -> Any:
    return array.sum(axis=1)


@pytest.fixture(scope="module")
def columns() -> Iterator[Any]:
    served = application("wine", "3", spec_of(COLUMNS), labelled)
    with serving(served) as address:
        yield triton.InferenceServerClient(address)


@pytest.fixture(scope="module")
def matrix() -> Iterator[str]:
    served = application("sum", "", spec_of(MATRIX), summed)
    with serving(served) as address:
        yield address


def test_triton_asks_for_health_and_metadata(columns: Any) -> None:
    assert columns.is_server_live() and columns.is_server_ready()
    assert columns.is_model_ready("wine") and columns.is_model_ready("wine", "3")
    assert not columns.is_model_ready("beer")
    assert "binary_tensor_data" in columns.get_server_metadata()["extensions"]
    told = columns.get_model_metadata("wine")
    assert [field["datatype"] for field in told["inputs"]] == ["FP64", "BYTES"]


@pytest.mark.parametrize("binary_in", [True, False])
@pytest.mark.parametrize("binary_out", [True, False])
def test_triton_sends_and_gets_columns(columns: Any, binary_in: bool, binary_out: bool) -> None:
    alcohol = triton.InferInput("alcohol", [2, 1], "FP64")
    alcohol.set_data_from_numpy(np.array([[1.5], [2.0]]), binary_data=binary_in)
    colour = triton.InferInput("colour", [2, 1], "BYTES")
    colour.set_data_from_numpy(np.array([["red"], ["weiß"]], object), binary_data=binary_in)
    wanted = [triton.InferRequestedOutput("label", binary_data=binary_out)]
    answer = columns.infer("wine", [alcohol, colour], "3", outputs=wanted, request_id="7")
    labels = answer.as_numpy("label").tolist()
    assert [x.decode() if isinstance(x, bytes) else x for x in labels] == ["red 1.5", "weiß 2"]
    assert answer.get_response()["id"] == "7"


def test_triton_sends_a_matrix_and_asks_for_no_output_by_name(matrix: str) -> None:
    client = triton.InferenceServerClient(matrix)
    tensor = triton.InferInput("input", [2, 3], "FP64")
    tensor.set_data_from_numpy(np.arange(6.0).reshape(2, 3))
    assert client.infer("sum", [tensor]).as_numpy("output-1").tolist() == [3.0, 12.0]


def test_triton_is_told_what_is_wrong(columns: Any) -> None:
    tensor = triton.InferInput("alcohol", [1], "FP64")
    tensor.set_data_from_numpy(np.array([1.0]))
    with pytest.raises(Exception, match=r"\[404\] there is no model 'beer' here: write 'wine'"):
        columns.infer("beer", [tensor])
    with pytest.raises(Exception, match=r"\[400\] .* of outputs\[0\]: write one of"):
        colour = triton.InferInput("colour", [1], "BYTES")
        colour.set_data_from_numpy(np.array(["red"], object))
        columns.infer("wine", [tensor, colour], outputs=[triton.InferRequestedOutput("else")])


def test_a_request_as_kserve_documents_it(matrix: str) -> None:
    body = {
        "inputs": [
            {
                "name": "input-0",
                "shape": [2, 3],
                "datatype": "FP64",
                "data": [[1, 2, 3], [4, 5, 6]],
            }
        ]
    }
    answer = requests.post(f"http://{matrix}/v2/models/sum/infer", json=body, timeout=60)
    assert answer.json()["outputs"] == [
        {"name": "output-1", "datatype": "FP64", "shape": [2], "data": [6.0, 15.0]}
    ]
    assert requests.get(f"http://{matrix}/v2/health/live", timeout=60).json()["live"] is True


def test_triton_asks_a_real_model(tmp_path: Path) -> None:
    fitted = models.save_wine(tmp_path / "wine")
    loaded = mlflow.pyfunc.load_model(str(tmp_path / "wine"))
    signature = loaded.metadata.signature
    spec = spec_of(signature)
    rows, _ = load_wine(return_X_y=True, as_frame=True)
    rows = rows.head(5)

    async def predict(data: Any, params: dict[str, Any]) -> Any:
        return loaded.predict(codec.frame_of(data, spec), params=params or None)

    whole = triton.InferInput("rows", list(rows.shape), "FP64")
    whole.set_data_from_numpy(rows.to_numpy())
    columns = []
    for name in reversed(rows.columns):
        column = triton.InferInput(name, [len(rows)], "FP64")
        column.set_data_from_numpy(rows[name].to_numpy(), binary_data=False)
        columns.append(column)
    with serving(application("wine", "3", spec_of(signature), predict)) as address:
        client = triton.InferenceServerClient(address)
        for inputs in ([whole], columns):
            answer = client.infer("wine", inputs).as_numpy("output-1")
            assert answer.tolist() == fitted.predict(rows).tolist()
