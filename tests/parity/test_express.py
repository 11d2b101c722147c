"""The inline path of http/protocol.py: which requests take it, and what becomes of the others."""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from mlflow_model_server.http.app import Application
from mlflow_model_server.inference import batcher
from mlflow_model_server.inference.predictor import Predictor
from mlflow_model_server.inference.service import InferenceService
from mlflow_model_server.metrics.recorder import Recorder, make_recorder
from mlflow_model_server.metrics.shared_memory import SharedMemory
from mlflow_model_server.model import loading
from mlflow_model_server.settings import from_environment
from tests.parity.asgi import SECONDS_TO_ANSWER, Request
from tests.parity.bodies import dumps, split
from tests.parity.models import MODELS
from tests.parity.wire import Wire, WireServer, raw


class Switched:
    """A model's direct way, which can be made to fail."""

    def __init__(self, predict: Any) -> None:
        self.fails = False
        self._predict = predict

    def __call__(self, data: Any) -> Any:
        if self.fails:
            raise RuntimeError("not now")
        return self._predict(data)


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """All predictions are, however slow the machine is."""
    monkeypatch.setattr(batcher, "QUICK", 60.0)


class Express:
    """A server, and a good request."""

    def __init__(
        self, server: WireServer, recorder: Recorder, model: Switched, request: Request
    ) -> None:
        self.server = server
        self.recorder = recorder
        self.model = model
        self.request = request
        answer = server.answer(request)
        assert answer.status == 200, answer
        self.expected = answer.body


@contextmanager
def serving(folder: Path, model: str = "linear", **variables: str) -> Iterator[Express]:
    """A server of one of the suite's models.

    A forest's labels are the same in any batch; the last bits of a linear model's sums are not.
    """
    sample = MODELS[model].save(folder / "artifact")
    body = {"dataframe_split": split(sample.rows)}
    settings = from_environment({**os.environ, "MODEL_DIR": str(folder), **variables})
    loaded = loading.load(settings)
    assert loaded.direct is not None
    switched = Switched(loaded.direct.predict)
    loaded = replace(loaded, direct=replace(loaded.direct, predict=switched))
    recorder = make_recorder(settings, SharedMemory())
    with WireServer(
        Application(InferenceService(Predictor(loaded, settings, recorder), settings, recorder))
    ) as server:
        yield Express(server, recorder, switched, Request("good", dumps(body)))


async def together(server: WireServer, parts: list[bytes], wire: Wire) -> Any:
    """Sends parts one after the other on one connection."""
    protocol = server.connection()
    protocol.connection_made(wire)
    for part in parts:
        protocol.data_received(part)
        await asyncio.sleep(0)
    return protocol


def test_what_comes_whole_takes_it(tmp_path: Path) -> None:
    with serving(tmp_path, "forest") as express:
        answers = express.server.answers([express.request] * 10)
        assert {answer.body for answer in answers} == {express.expected}
        assert express.server.by_asgi == 0


def test_what_comes_in_parts_goes_by_asgi(tmp_path: Path) -> None:
    with serving(tmp_path) as express:
        sent = raw(express.request)
        wire = Wire(with_body=True)

        async def ask() -> None:
            await together(express.server, [sent[:-10], sent[-10:]], wire)
            await asyncio.wait_for(wire.answered.wait(), SECONDS_TO_ANSWER)

        express.server.run(ask())
        assert wire.answer(None).body == express.expected
        assert express.server.by_asgi == 1


def test_two_in_one_read_are_answered_in_order(tmp_path: Path) -> None:
    with serving(tmp_path) as express:
        wire = Wire(with_body=True)
        bad = Request("bad", b"[]")

        async def ask() -> None:
            await together(express.server, [raw(express.request) + raw(bad)], wire)
            while wire.written.count(b"HTTP/1.1") < 2:
                await asyncio.sleep(0.001)

        express.server.run(asyncio.wait_for(ask(), SECONDS_TO_ANSWER))
        first, second = wire.written.split(b"HTTP/1.1 ")[1:]
        assert first.startswith(b"200") and first.endswith(express.expected)
        assert second.startswith(b"400")


@pytest.mark.parametrize(
    "body",
    [b"{", b"{}", b"[1]", b'{"dataframe_split": {"columns": ["a"], "data": [[1]]}}'],
)
def test_whatever_is_doubtful_goes_by_asgi(tmp_path: Path, body: bytes) -> None:
    with serving(tmp_path) as express:
        assert express.server.answer(Request("doubtful", body)).status == 400
        assert express.server.by_asgi == 1


def test_what_the_direct_way_can_not_do_mlflows_does(tmp_path: Path) -> None:
    with serving(tmp_path, "forest") as express:
        express.model.fails = True
        answer = express.server.answer(express.request)
        assert answer.status == 200
        assert json.loads(answer.body) == json.loads(express.expected)
        assert express.server.by_asgi == 1
        assert express.recorder.in_flight == 0


def test_who_leaves_frees_his_place(tmp_path: Path) -> None:
    with serving(tmp_path) as express:

        async def leave() -> None:
            protocol = await together(express.server, [], Wire(with_body=True))
            protocol.data_received(raw(express.request))
            assert express.recorder.in_flight == 1
            protocol.connection_lost(None)
            while express.recorder.in_flight:
                await asyncio.sleep(0.001)

        express.server.run(asyncio.wait_for(leave(), SECONDS_TO_ANSWER))
        assert express.server.by_asgi == 0


@pytest.mark.parametrize("limit", [{"MAX_BODY_BYTES": "1000"}, {"MAX_ROWS": "3"}])
def test_limits_hold(tmp_path: Path, limit: dict[str, str]) -> None:
    with serving(tmp_path, **limit) as express:
        split = json.loads(express.request.body)["dataframe_split"]
        more = dumps({"dataframe_split": {**split, "data": 2 * split["data"]}})
        assert len(express.request.body) < 1000 < len(more)
        assert express.server.answer(Request("too much", more)).status == 413
