"""Requests in the docs that are not commands: Python programs and examples of bodies, run."""

from __future__ import annotations

import ast
import json
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager, redirect_stdout
from io import StringIO
from pathlib import Path
from typing import Any

import mlflow
import numpy as np
import pytest
import requests
from mlflow.models import ModelSignature
from mlflow.types import ColSpec, ParamSchema, ParamSpec, Schema, TensorSpec
from sklearn.datasets import load_wine

from tests.unit.server import models
from tests.unit.server.agents import agent_models
from tests.unit.server.process import REPOSITORY, Server, serving

Ports = Callable[[], int]

HOW_TO = REPOSITORY / "docs/how-to"
# Rows of its table of keys: a key, and examples of its value.
BODY_ROW = re.compile(r"^\| `(\w+)` \| [^|]* \| (`.*`) \|$", re.M)
CODE = re.compile(r"`([^`]+)`")
PARAMS = re.compile(r'`({"inputs": \["Hi"\], "params": .*?})`', re.S)
TABLES = ("dataframe_split", "dataframe_records")
TENSORS = ("inputs", "instances")

ECHO = """\
from mlflow.models import set_model
from mlflow.pyfunc import PythonModel


class Echo(PythonModel):
    def predict(self, context, model_input, params=None):
        if isinstance(model_input, dict):
            (model_input,) = model_input.values()
        rows = getattr(model_input, "values", model_input).tolist()
        return rows if params is None else [[*row, params] for row in rows]


set_model(Echo())
"""
TABLE = ModelSignature(Schema([ColSpec("long", "a"), ColSpec("long", "b")]))
TENSOR = ModelSignature(Schema([TensorSpec(np.dtype("int64"), (-1, 2), "x")]))
TEXT = ModelSignature(
    Schema([ColSpec("string")]), params=ParamSchema([ParamSpec("temperature", "double", 1.0)])
)


def programs(page: str) -> list[str]:
    """The Python blocks of a how-to page."""
    text = (HOW_TO / page).read_text(encoding="utf-8")
    return re.findall(r"^```python\n(.*?)^```$", text, re.M | re.S)


def printed_by(program: str, addresses: dict[str, str], **names: Any) -> str:
    """What a program prints that sends its requests to other addresses."""
    for documented, running in addresses.items():
        program = program.replace(documented, running)
    with redirect_stdout(StringIO()) as printed:
        exec(compile(program, "a page", "exec"), names)
    return printed.getvalue()


@pytest.fixture(scope="module")
def wine(
    tmp_path_factory: pytest.TempPathFactory, unused_tcp_port_factory: Ports
) -> Iterator[dict[str, str]]:
    """A server of the model that the pages have, as their addresses."""
    folder = tmp_path_factory.mktemp("wine")
    models.save_wine(folder / "artifact")
    http, grpc = unused_tcp_port_factory(), unused_tcp_port_factory()
    variables = {"MODEL_URI": "models:/wine/3", "GRPC_PORT": str(grpc)}
    with serving(folder, http, **variables):
        yield {
            "http://wine.models/": f"http://127.0.0.1:{http}/",
            "wine.models:80": f"127.0.0.1:{http}",
            "wine.models.example.com:80": f"127.0.0.1:{grpc}",
        }


def test_a_dataframe_is_sent_as_input_formats_says(wine: dict[str, str]) -> None:
    program, _ = programs("input-formats.md")
    frame, labels = load_wine(return_X_y=True, as_frame=True)
    predicted = ast.literal_eval(
        printed_by(f"{program}\nprint(predictions)", wine, frame=frame.head(3))
    )
    assert predicted == labels.head(3).tolist()


def test_a_binary_tensor_is_sent_as_input_formats_says(wine: dict[str, str]) -> None:
    _, program = programs("input-formats.md")
    assert re.fullmatch(r"\[\d\]\n", printed_by(program, wine))


def test_a_tensor_is_sent_by_grpc(wine: dict[str, str]) -> None:
    (program,) = programs("grpc.md")
    printed = printed_by(program, wine)
    assert 'name: "alcohol"' in printed
    assert re.search(r"^\[\d\]\n\Z", printed, re.M)


def test_an_agent_responds_as_its_page_says(tmp_path: Path, unused_tcp_port: int) -> None:
    (program,) = programs("agents.md")
    (tmp_path / "model").mkdir()
    code = (REPOSITORY / "examples/agent.py").read_text()
    agent_models.save(tmp_path / "model/artifact", code)
    with serving(tmp_path / "model", unused_tcp_port) as server:
        printed = printed_by(program, {"http://assistant.models.example.com": server.url("")})
    assert printed == "Hello\nHello "


@contextmanager
def echo(folder: Path, port: int, signature: ModelSignature) -> Iterator[Server]:
    """A server whose model returns its rows, with its parameters if there are any."""
    (folder / "model").mkdir()
    source = folder / "model.py"
    source.write_text(ECHO)
    mlflow.pyfunc.save_model(
        folder / "model/artifact",
        python_model=str(source),
        signature=signature,
        pip_requirements=["mlflow"],
    )
    with serving(folder / "model", port) as server:
        yield server


def bodies(*keys: str) -> list[dict[str, Any]]:
    """The bodies that the table of keys has for these."""
    text = (HOW_TO / "input-formats.md").read_text(encoding="utf-8")
    cells = dict(BODY_ROW.findall(text))
    return [{key: json.loads(value)} for key in keys for value in CODE.findall(cells[key])]


def test_the_table_has_no_other_examples() -> None:
    text = (HOW_TO / "input-formats.md").read_text(encoding="utf-8")
    assert [key for key, _ in BODY_ROW.findall(text)] == [*TABLES, *TENSORS]


def test_tables_are_sent_as_input_formats_says(tmp_path: Path, unused_tcp_port: int) -> None:
    with echo(tmp_path, unused_tcp_port, TABLE) as server:
        for body in bodies(*TABLES):
            assert server.predict(body).json() == {"predictions": [[1, 2], [3, 4]]}, body
        csv = requests.post(
            server.url("/invocations"),
            data="a,b\n1,2\n3,4\n",
            headers={"Content-Type": "text/csv"},
            timeout=60,
        )
        assert csv.json() == {"predictions": [[1, 2], [3, 4]]}


def test_tensors_are_sent_as_input_formats_says(tmp_path: Path, unused_tcp_port: int) -> None:
    with echo(tmp_path, unused_tcp_port, TENSOR) as server:
        for body in bodies(*TENSORS):
            predictions = server.predict(body).json()["predictions"]
            assert predictions in ([[1, 2]], [[1, 2], [3, 4]]), body
        tensor = {"name": "any", "shape": [1, 2], "datatype": "INT64", "data": [1, 2]}
        url = server.url("/v2/models/mlflow-model/infer")
        inferred = requests.post(url, json={"inputs": [tensor]}, timeout=60)
        assert inferred.ok, inferred.text
        assert inferred.json()["outputs"][0]["data"] == [1, 2]


def test_parameters_are_sent_as_input_formats_says(tmp_path: Path, unused_tcp_port: int) -> None:
    text = (HOW_TO / "input-formats.md").read_text(encoding="utf-8")
    (body,) = map(json.loads, PARAMS.findall(text))
    with echo(tmp_path, unused_tcp_port, TEXT) as server:
        assert server.predict(body).json() == {"predictions": [["Hi", body["params"]]]}
