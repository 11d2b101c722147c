"""The two applications that are compared, each with the same saved model."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from mlflow.pyfunc import load_model, scoring_server

from mlflow_model_server import bootstrap
from mlflow_model_server.settings import from_environment
from tests.parity.asgi import Answer, Request, Server
from tests.parity.wire import WireServer


@dataclass(frozen=True)
class Pair:
    """MLflow's server and ours."""

    theirs: Server
    ours: WireServer

    def answer(self, request: Request) -> tuple[Answer, Answer]:
        """MLflow's answer, then ours."""
        return self.theirs.answer(request), self.ours.answer(request)


@contextmanager
def serving(folder: Path, **variables: str) -> Iterator[Pair]:
    """Both servers with the model in `folder/artifact`; more settings as in a pod's environment."""
    settings = from_environment({**os.environ, **variables, "MODEL_DIR": str(folder)})
    theirs = scoring_server.init(load_model(str(settings.artifact), suppress_warnings=True))
    with Server(theirs) as first, WireServer(bootstrap.load(settings)) as second:
        yield Pair(first, second)
