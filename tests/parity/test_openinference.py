"""The Open Inference Protocol's two ways answer alike: the quick one, and MLflow's own code."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mlflow_model_server.codecs import tensors
from mlflow_model_server.codecs.metadata import Spec, spec_of
from mlflow_model_server.http.app import Application
from mlflow_model_server.inference.predictor import Predictor
from mlflow_model_server.inference.service import InferenceService
from mlflow_model_server.metrics.recorder import make_recorder
from mlflow_model_server.metrics.shared_memory import SharedMemory
from mlflow_model_server.model import loading
from mlflow_model_server.model.input_schema import TensorSchema
from mlflow_model_server.settings import Settings, from_environment
from tests.parity.asgi import Request, Server
from tests.parity.compare import RELATIVE, RELATIVE_SINGLE, differences
from tests.parity.models import MODELS, Sample

Tensor = dict[str, Any]
PATH = "/v2/models/mlflow-model/infer"
# Of these the fast path must have answered a request, else this test would compare nothing.
FAST = ("linear", "forest", "column-transformer", "integer-columns", "tensor", "onnx-tensor")


@dataclass(frozen=True)
class Ways:
    """One model in two servers: as it is, and with MLflow's own way only."""

    sample: Sample
    loaded: loading.Loaded
    spec: Spec
    fast: Server
    mlflow: Server
    batches: Callable[[], float]  # that the fast path has predicted


@pytest.fixture(scope="module")
def ways(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[str], Ways]]:
    """Serves a model of MODELS by its name."""
    with ExitStack() as stack:
        yield lambda name: stack.enter_context(_served(name, tmp_path_factory.mktemp(name)))


@contextmanager
def _served(name: str, folder: Path) -> Iterator[Ways]:
    sample = MODELS[name].save(folder / "artifact")
    settings = from_environment({**os.environ, "MODEL_DIR": str(folder), "DRIFT": "off"})
    loaded = loading.load(settings)
    calls: list[int] = []
    if loaded.direct is not None:
        loaded = replace(loaded, direct=_counted(loaded.direct, calls))
    slow = replace(loaded, direct=None)
    apps = (_application(each, settings) for each in (loaded, slow))
    first, second = map(Server, apps)
    with first, second:
        spec = spec_of(loaded.signature)
        yield Ways(sample, loaded, spec, first, second, lambda: len(calls))


def _application(loaded: loading.Loaded, settings: Settings) -> Application:
    recorder = make_recorder(settings, SharedMemory())
    return Application(InferenceService(Predictor(loaded, settings, recorder), settings, recorder))


def _counted(direct: Any, calls: list[int]) -> Any:
    def predict(data: Any) -> Any:
        calls.append(len(data))
        return direct.predict(data)

    return replace(direct, predict=predict)


@pytest.mark.parametrize("name", MODELS)
def test_both_ways_answer_alike(ways: Callable[[str], Ways], name: str) -> None:
    both = ways(name)
    relative = RELATIVE_SINGLE if MODELS[name].single else RELATIVE
    requests = [_request(label, *inputs) for label, inputs in _inputs(both)]
    differing = []
    for request in requests:
        theirs, ours = both.mlflow.answer(request), both.fast.answer(request)
        differing += [f"{request.label}: {text}" for text in differences(theirs, ours, relative)]
    assert not differing, "\n".join(differing)
    if name in FAST:
        assert both.batches() > 0, "no request went by the fast path"


def _request(label: str, *inputs: Tensor) -> Request:
    return Request(label, json.dumps({"inputs": inputs}).encode(), path=PATH)


def _inputs(both: Ways) -> Iterator[tuple[str, list[Tensor]]]:
    if isinstance(both.loaded.input_schema, TensorSchema):
        yield from _of_a_tensor(both)
    elif both.sample.rows and both.spec.is_table:
        yield from _of_columns(both)


def _of_a_tensor(both: Ways) -> Iterator[tuple[str, list[Tensor]]]:
    datatype_of_model = both.spec.inputs[0].datatype
    for values in both.sample.inputs:
        if isinstance(values, dict):
            continue
        for datatype in dict.fromkeys((datatype_of_model, "FP64", "FP32", "INT64")):
            array = np.array(values).astype(tensors.DTYPES[datatype])
            yield f"a tensor of {datatype}", [_tensor("input-1", datatype, array)]
        array = np.array(values).astype(tensors.DTYPES[datatype_of_model])
        yield "one dimension less", [_tensor("input-1", datatype_of_model, array[0])]
        yield "one column less", [_tensor("input-1", datatype_of_model, array[:, 1:])]
        with np.errstate(over="ignore"):
            huge = array.dtype.type(1e38) * np.ones_like(array)
        yield "huge numbers", [_tensor("input-1", datatype_of_model, huge)]


def _of_columns(both: Ways) -> Iterator[tuple[str, list[Tensor]]]:
    rows = both.sample.rows
    fields = [field for field in both.spec.inputs if field.name in rows[0]]
    plain = [
        _tensor(field.name, field.datatype, [row[field.name] for row in rows]) for field in fields
    ]
    if not plain:
        return
    yield "as the metadata say", plain
    yield "one row", [{**tensor, "shape": [1], "data": tensor["data"][:1]} for tensor in plain]
    yield "one column for each", [{**tensor, "shape": [*tensor["shape"], 1]} for tensor in plain]
    yield "other order", plain[::-1]
    yield "one column less", plain[1:]
    yield "one column more", [*plain, {**plain[0], "name": "more"}]
    for datatype in ("FP64", "FP32", "INT64", "INT32", "BOOL", "BYTES"):
        same = [{**tensor, "datatype": datatype} for tensor in plain]
        yield f"all of {datatype}", same
        yield f"the first of {datatype}", [same[0], *plain[1:]]
    yield "a null", [{**plain[0], "data": [None, *plain[0]["data"][1:]]}, *plain[1:]]
    if all(type(value) in (int, float) for row in rows for value in row.values()):
        table = [[row[field.name] for field in fields] for row in rows]
        yield "one table", [_tensor("table", "FP64", np.array(table, np.float64))]
        with np.errstate(over="ignore"):
            single = np.array(table, np.float32)
        yield "one table of FP32", [_tensor("table", "FP32", single)]


def _tensor(name: str, datatype: str, values: Any) -> Tensor:
    array = np.array(values, tensors.DTYPES[datatype]) if datatype == "BYTES" else np.array(values)
    data = [value if value is None else _plain(value) for value in array.ravel().tolist()]
    return {"name": name, "datatype": datatype, "shape": list(array.shape), "data": data}


def _plain(value: Any) -> Any:
    return value if isinstance(value, int | float | str) else str(value)
