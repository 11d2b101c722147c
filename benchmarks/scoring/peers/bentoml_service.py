"""BentoML, with adaptive batches: bentoml serve benchmarks.scoring.peers.bentoml_service:Model."""

from typing import Any

import bentoml

from benchmarks.scoring.peers.model import MAX_BATCH, load


@bentoml.service(workers=1, traffic={"timeout": 60})
class Model:
    """The model."""

    def __init__(self) -> None:
        self._predict = load()

    @bentoml.api(route="/predict", batchable=True, max_batch_size=MAX_BATCH, max_latency_ms=1000)
    def predict(self, rows: list[Any]) -> list[Any]:
        """Predicts the rows of one request, or of several."""
        predictions: list[Any] = self._predict(rows).tolist()
        return predictions
