"""LitServe, with batches: python -m benchmarks.scoring.peers.litserve_app PORT."""

from __future__ import annotations

import itertools
import sys
from typing import Any

import litserve

from benchmarks.scoring.peers.model import BATCH_SECONDS, MAX_BATCH, load


class Model(litserve.LitAPI):
    """The model; a batch is the rows of several requests."""

    def setup(self, device: str) -> None:  # noqa: ARG002
        """Loads it in the worker."""
        self._predict = load()

    # Without a type, which FastAPI would read.
    def decode_request(self, request, **_):
        """The rows."""
        return request["rows"]

    def batch(self, inputs: list[Any]) -> Any:
        """All rows, and how many each request has."""
        return list(itertools.chain.from_iterable(inputs)), [len(rows) for rows in inputs]

    def predict(self, batch: Any, **_: Any) -> Any:
        """Predicts them in one call."""
        rows, lengths = batch
        return self._predict(rows).tolist(), lengths

    def unbatch(self, output: Any) -> list[Any]:
        """The predictions for each request."""
        predictions, lengths = output
        ends = list(itertools.accumulate(lengths))
        return [predictions[end - length : end] for end, length in zip(ends, lengths, strict=True)]

    def encode_response(self, output: Any, **_: Any) -> dict[str, Any]:
        """JSON."""
        return {"predictions": output}


if __name__ == "__main__":
    api = Model(max_batch_size=MAX_BATCH, batch_timeout=BATCH_SECONDS)
    litserve.LitServer(api, accelerator="cpu", workers_per_device=1).run(
        host="127.0.0.1", port=int(sys.argv[1]), generate_client_file=False, log_level="warning"
    )
