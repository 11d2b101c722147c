"""Ray Serve, with batches: python -m benchmarks.scoring.peers.ray_serve_app PORT."""

from __future__ import annotations

import itertools
import sys
from typing import Any

import ray
from ray import serve
from ray.serve.config import HTTPOptions
from starlette.requests import Request

from benchmarks.scoring.peers.model import BATCH_SECONDS, MAX_BATCH, load


@serve.deployment(num_replicas=1, max_ongoing_requests=2 * MAX_BATCH)
class Model:
    """The model."""

    def __init__(self) -> None:
        self._predict = load()

    @serve.batch(max_batch_size=MAX_BATCH, batch_wait_timeout_s=BATCH_SECONDS)
    async def predict(self, batch: list[Any]) -> list[Any]:
        """The predictions for each request."""
        predictions = iter(self._predict(list(itertools.chain.from_iterable(batch))).tolist())
        return [list(itertools.islice(predictions, len(rows))) for rows in batch]

    async def __call__(self, request: Request) -> dict[str, Any]:
        """Predicts rows."""
        return {"predictions": await self.predict((await request.json())["rows"])}


if __name__ == "__main__":
    ray.init(include_dashboard=False, object_store_memory=100 * 2**20, log_to_driver=False)
    serve.start(http_options=HTTPOptions(host="127.0.0.1", port=int(sys.argv[1])))
    deployment: Any = Model
    serve.run(deployment.bind(), route_prefix="/predict", blocking=True)
