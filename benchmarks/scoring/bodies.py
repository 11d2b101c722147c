"""What each protocol sends for the rows of a case."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.scoring.protocols import (
    HEADER_LENGTH,
    INVOCATIONS,
    ROWS,
    V2,
    V2_BINARY,
    V2_GRPC,
)
from mlflow_model_server.grpc.messages import message

NAME = "input"  # of the one tensor, where all columns are numbers


def write(folder: Path, body: dict[str, Any]) -> None:
    """Writes the files of a case whose body by MLflow's protocol is this."""
    split: dict[str, Any] = body.get("dataframe_split", {})
    rows = split["data"] if split else body["inputs"]
    has_text = any(isinstance(cell, str) for cell in rows[0])
    objects = [dict(zip(split["columns"], row, strict=True)) for row in rows] if has_text else rows
    inputs = _columns(objects) if has_text else [_tensor(rows, "FP64" if split else "FP32")]
    (folder / INVOCATIONS.file).write_text(json.dumps(body))
    (folder / ROWS.file).write_text(json.dumps({"rows": objects}))
    (folder / V2.file).write_text(json.dumps({"inputs": inputs}))
    if not has_text:
        _write_bytes(folder, rows, inputs[0])


def _tensor(rows: list[list[float]], datatype: str) -> dict[str, Any]:
    shape = [len(rows), len(rows[0])]
    data = [cell for row in rows for cell in row]
    return {"name": NAME, "datatype": datatype, "shape": shape, "data": data}


def _columns(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [
        {
            "name": name,
            "datatype": "BYTES" if isinstance(rows[0][name], str) else "FP64",
            "shape": [len(rows), 1],
            "data": [row[name] for row in rows],
        }
        for name in rows[0]
    ]


def _write_bytes(folder: Path, rows: list[list[float]], tensor: dict[str, Any]) -> None:
    """The tensor as bytes, behind JSON and in a message of gRPC."""
    raw = np.asarray(rows, "<f8" if tensor["datatype"] == "FP64" else "<f4").tobytes()
    described = {key: value for key, value in tensor.items() if key != "data"}
    described["parameters"] = {"binary_data_size": len(raw)}
    wanted = {"inputs": [described], "parameters": {"binary_data_output": True}}
    head = json.dumps(wanted).encode()
    (folder / V2_BINARY.file).write_bytes(head + raw)
    headers = {"Content-Type": "application/octet-stream", HEADER_LENGTH: str(len(head))}
    V2_BINARY.header_file(folder).write_text(json.dumps(headers))
    (folder / V2_GRPC.file).write_bytes(_message(tensor, raw))


def _message(tensor: dict[str, Any], raw: bytes) -> bytes:
    request = message("ModelInferRequest")(model_name="model", raw_input_contents=[raw])
    request.inputs.add(name=tensor["name"], datatype=tensor["datatype"], shape=tensor["shape"])
    return bytes(request.SerializeToString())
