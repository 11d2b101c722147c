"""FastAPI, by hand: uvicorn benchmarks.scoring.peers.fastapi_app:app."""

from __future__ import annotations

from typing import Any

from fastapi import FastAPI
from pydantic import BaseModel

from benchmarks.scoring.peers.model import load


class Rows(BaseModel):
    """A request."""

    rows: list[list[float] | dict[str, float | str]]


class Predictions(BaseModel):
    """A response."""

    predictions: list[Any]


app = FastAPI()
predict = load()


# Not async: as its docs say of what takes time without awaiting.
@app.post("/predict")
def predictions(request: Rows) -> Predictions:
    """Predicts rows."""
    return Predictions(predictions=predict(request.rows).tolist())


@app.get("/health")
async def health() -> dict[str, bool]:
    """Whether it answers."""
    return {"ready": True}
