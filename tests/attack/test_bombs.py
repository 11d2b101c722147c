"""Small bodies that become large, against a pod with a limit of 2 GiB.

Each is within MAX_BODY_BYTES. While it is read, memory stays under half of the limit, and probes
are answered. `python -m tests.attack.figures` prints how much it is, by format, and how long probes
take.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import grpc
import pytest

from mlflow_model_server.grpc.messages import SERVICE, message
from tests.attack.bombs import (
    BODY,
    BOMBS,
    CHATS,
    HALF,
    INVOCATIONS,
    JSON,
    LARGEST,
    OF_AGENTS,
    PING,
    Target,
    Watch,
    busy,
    counting,
    of_chats,
    of_columns,
    of_traced_answers,
    of_traced_chats,
)


def _fixture_of(start: Callable[[Path, int, int], AbstractContextManager[Target]]) -> Any:
    @pytest.fixture(scope="module")
    def running(
        tmp_path_factory: pytest.TempPathFactory, unused_tcp_port_factory: Callable[[], int]
    ) -> Iterator[Target]:
        ports = unused_tcp_port_factory(), unused_tcp_port_factory()
        with start(tmp_path_factory.mktemp("server"), *ports) as target:
            yield target

    return running


target = _fixture_of(counting)
tables = _fixture_of(of_columns)
chats = _fixture_of(of_chats)
traced = _fixture_of(of_traced_chats)
traced_answers = _fixture_of(of_traced_answers)


@pytest.mark.parametrize("name", BOMBS)
def test_a_small_body_that_becomes_large(target: Target, name: str) -> None:
    path, content_type, make = BOMBS[name]
    body = make()
    assert len(body) <= BODY
    with Watch(target.server).running() as watch:
        answer = target.post(path, content_type, body)
    assert answer.status_code in (400, 413), answer.text[:300]
    assert len(answer.content) < 1000
    assert watch.peak < HALF, f"{watch.peak >> 20} MiB"
    assert watch.slowest < PING * busy(), f"{watch.slowest:.1f} s"


@pytest.mark.parametrize("name", LARGEST)
def test_as_much_as_is_let_through(target: Target, name: str) -> None:
    path, content_type, make = LARGEST[name]
    body = make()
    assert len(body) <= BODY
    with Watch(target.server).running() as watch:
        status = target.send(path, content_type, body)
    assert status == (400 if "UTF-8" in name or name == "no JSON" else 200)
    assert watch.peak < HALF, f"{watch.peak >> 20} MiB"
    assert watch.slowest < PING * busy(), f"{watch.slowest:.1f} s"


def test_many_of_them_at_once(target: Target) -> None:
    """No sequence of requests ends the pod."""
    names = ("lists", "numbers", "texts", "Parquet") * 3
    made = {name: LARGEST[name][2]() for name in set(names)}

    def send(name: str) -> int:
        path, content_type, _ = LARGEST[name]
        return target.send(path, content_type, made[name])

    with Watch(target.server).running() as watch, ThreadPoolExecutor(len(names)) as pool:
        statuses = set(pool.map(send, names))
    assert statuses <= {200, 503, 504}, statuses
    assert watch.peak < HALF, f"{watch.peak >> 20} MiB"
    assert watch.slowest < PING * busy(), f"{watch.slowest:.1f} s"


def test_messages_of_grpc_that_become_large(tables: Target) -> None:
    empty = message("ModelInferRequest")()
    for _ in range(1_000_000):
        empty.inputs.add()
    many = message("ModelInferRequest")(raw_input_contents=[b""] * 1_500_000)
    names = message("ModelInferRequest")()
    for _ in range(1_000_000):
        names.outputs.add()
    with Watch(tables.server).running() as watch, tables.channel() as channel:
        call = channel.unary_unary(f"/{SERVICE}/ModelInfer")
        for request in (empty, many, names):
            request.model_name = "mlflow-model"
            with pytest.raises(grpc.RpcError) as refused:
                call(request.SerializeToString(), timeout=60)
            assert refused.value.code() in (
                grpc.StatusCode.RESOURCE_EXHAUSTED,
                grpc.StatusCode.INVALID_ARGUMENT,
            )
            assert len(refused.value.details() or "") < 500
    assert watch.peak < HALF, f"{watch.peak >> 20} MiB"
    assert watch.slowest < PING * busy(), f"{watch.slowest:.1f} s"


@pytest.mark.parametrize("name", OF_AGENTS)
@pytest.mark.parametrize("path", [CHATS, INVOCATIONS])
def test_bodies_for_agents(chats: Target, name: str, path: str) -> None:
    body = OF_AGENTS[name]()
    assert len(body) <= BODY
    with Watch(chats.server).running() as watch:
        answer = chats.post(path, JSON, body)
    assert answer.status_code in (200, 400, 413), answer.text[:300]
    assert answer.status_code == 200 or len(answer.content) < 1000
    assert watch.peak < HALF, f"{watch.peak >> 20} MiB"
    assert watch.slowest < PING * busy(), f"{watch.slowest:.1f} s"


def test_many_bodies_for_agents_at_once(chats: Target) -> None:
    bodies = [make() for make in OF_AGENTS.values()]
    with Watch(chats.server).running() as watch, ThreadPoolExecutor(len(bodies)) as pool:
        statuses = set(pool.map(lambda body: chats.send(CHATS, JSON, body), bodies))
    assert statuses <= {200, 400, 413, 503, 504}, statuses
    assert watch.peak < HALF, f"{watch.peak >> 20} MiB"
    assert watch.slowest < PING * busy(), f"{watch.slowest:.1f} s"


def test_traces_that_wait_to_be_written(traced: Target) -> None:
    """As many as never fit, each of the largest request that is traced, and larger ones."""
    largest_traced = b'{"messages":[{"role":"user","content":"' + b"x" * 250_000 + b'"}]}'
    bodies = [largest_traced] * 400 + [OF_AGENTS["a long text"]()] * 60
    with Watch(traced.server).running() as watch, ThreadPoolExecutor(4) as pool:
        statuses = set(pool.map(lambda body: traced.send(CHATS, JSON, body), bodies))
    assert statuses == {200}
    assert watch.peak < HALF, f"{watch.peak >> 20} MiB"


def test_traces_of_large_answers(traced_answers: Target) -> None:
    """What small requests are answered waits to be written, too."""
    body = b'{"input":[{"role":"user","content":"flood 2000"}]}'  # 20 MB are answered
    with Watch(traced_answers.server).running() as watch:
        statuses = {traced_answers.send("/responses", JSON, body) for _ in range(60)}
    assert statuses == {200}
    assert watch.peak < HALF, f"{watch.peak >> 20} MiB"
