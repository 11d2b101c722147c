"""How a server is asked: the body, its headers, and where the predictions are in the answer."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from mlflow_model_server.codecs.tensors import DTYPES
from mlflow_model_server.grpc.messages import message

JSON = "application/json"
# Of the Open Inference Protocol's binary tensors: where their JSON ends.
HEADER_LENGTH = "Inference-Header-Content-Length"


@dataclass(frozen=True)
class Protocol:
    """A way to ask."""

    file: str  # with the body, in the folder of a case
    predictions: Callable[[bytes], Any]
    grpc: bool = False

    def body(self, case: Path) -> Path:
        """The file with what is sent."""
        return case / self.file

    def header_file(self, case: Path) -> Path:
        """The headers, where they are other than JSON's."""
        return self.body(case).with_suffix(".headers.json")

    def headers(self, case: Path) -> dict[str, str]:
        """Of HTTP."""
        file = self.header_file(case)
        headers: dict[str, str] = json.loads(file.read_text()) if file.exists() else {}
        return {"Content-Type": JSON, **headers}


def numbers(predictions: Any) -> list[float]:
    """All numbers of predictions, however they are nested."""
    if isinstance(predictions, dict):
        predictions = list(predictions.values())
    if isinstance(predictions, list):
        return [number for inner in predictions for number in numbers(inner)]
    return [float(predictions)]


def agree(some: list[float], others: list[float]) -> bool:
    """Whether predictions are the same, but for what float32 and JSON may change."""
    return len(some) == len(others) and all(
        math.isclose(a, b, rel_tol=1e-5) for a, b in zip(some, others, strict=True)
    )


def _named(body: bytes) -> Any:
    answer = json.loads(body)
    return answer["predictions"] if isinstance(answer, dict) else answer


def _outputs(body: bytes) -> Any:
    return [output["data"] for output in json.loads(body)["outputs"]]


def _binary_outputs(body: bytes) -> Any:
    """JSON, and behind it the bytes; or JSON only, as the server likes."""
    head, end = json.JSONDecoder().raw_decode(body.decode("latin-1"))
    rest = memoryview(body)[end:]
    values = []
    for output in head["outputs"]:
        size = output.get("parameters", {}).get("binary_data_size", 0)
        values.append(output["data"] if not size else _unpacked(output["datatype"], rest[:size]))
        rest = rest[size:]
    return values


def _grpc_outputs(body: bytes) -> Any:
    response = message("ModelInferResponse").FromString(body)
    raw = iter(response.raw_output_contents)
    return [
        _unpacked(output.datatype, next(raw))
        if response.raw_output_contents
        else list(_contents(output.contents))
        for output in response.outputs
    ]


def _contents(contents: Any) -> Iterator[Any]:
    for _, values in contents.ListFields():
        yield from values


def _unpacked(datatype: str, values: Any) -> Any:
    return np.frombuffer(values, DTYPES[datatype]).tolist()


INVOCATIONS = Protocol("body.json", _named)
ECHO = Protocol("body.json", lambda _: [])
ROWS = Protocol("rows.json", _named)  # what those take that have no protocol of their own
V2 = Protocol("v2.json", _outputs)
V2_BINARY = Protocol("v2-binary.bin", _binary_outputs)
V2_GRPC = Protocol("v2-grpc.bin", _grpc_outputs, grpc=True)
