"""Triton by its wheel for Python, with batches: triton_app PORT GRPC_PORT CASE.

The inputs are those of the case's request by the Open Inference Protocol.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
from pytriton.decorators import batch
from pytriton.model_config import DynamicBatcher, ModelConfig, Tensor
from pytriton.triton import Triton, TritonConfig

from benchmarks.scoring.peers.model import BATCH_SECONDS, MAX_BATCH, load

MAX_ROWS = 1000
TYPES: dict[str, Any] = {"FP64": np.float64, "FP32": np.float32, "BYTES": np.bytes_}
predict = load()


@batch
def infer(**columns: Any) -> list[Any]:
    """Predicts the rows of one request, or of several."""
    if len(columns) == 1:
        return [predict(next(iter(columns.values())))]
    lists = {name: _decoded(column.ravel()) for name, column in columns.items()}
    rows = zip(*lists.values(), strict=True)
    return [predict([dict(zip(lists, row, strict=True)) for row in rows])]


def _decoded(column: Any) -> list[Any]:
    return [value.decode() if isinstance(value, bytes) else value for value in column.tolist()]


if __name__ == "__main__":
    inputs = json.loads(Path(sys.argv[3], "v2.json").read_text())["inputs"]
    config = TritonConfig(
        http_address="127.0.0.1",
        http_port=int(sys.argv[1]),
        grpc_address="127.0.0.1",
        grpc_port=int(sys.argv[2]),
        allow_metrics=False,
    )
    with Triton(config=config) as triton:
        triton.bind(
            model_name="model",
            infer_func=infer,
            inputs=[
                Tensor(name=each["name"], dtype=TYPES[each["datatype"]], shape=each["shape"][1:])
                for each in inputs
            ],
            outputs=[Tensor(name="output", dtype=np.float64, shape=(-1,))],
            config=ModelConfig(
                max_batch_size=MAX_ROWS,
                batcher=DynamicBatcher(
                    max_queue_delay_microseconds=int(1e6 * BATCH_SECONDS),
                    preferred_batch_size=[MAX_BATCH],
                ),
            ),
        )
        triton.serve()
