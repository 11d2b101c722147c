"""Hostile requests to agents: bodies that grow, clients that come and go."""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator

import pytest
import requests

from tests.unit.server.agents import agent_models
from tests.unit.server.process import Server, serving, wait_until

PATHS = ["/v1/chat/completions", "/invocations"]
# Each becomes many times as large as it is when it is parsed.
BOMBS = {
    "lists": b'{"messages":[' + b"[]," * 5_000_000 + b'[]],"stream":true}',
    "depth": b'{"messages":' + b"[" * 100_000 + b"]" * 100_000 + b',"stream":true}',
    "digits": b'{"messages":' + b"9" * 100_000 + b',"stream":true}',
    "text": b'{"messages":"\xff","stream":true}',
    "surrogate": b'{"messages":[{"role":"user","content":"\\ud800"}],"stream":true}',
}


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    folder = tmp_path_factory.mktemp("agent")
    (folder / "model").mkdir()
    agent_models.save(folder / "model" / "artifact", agent_models.CHAT_MODEL)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    limits = {"AGENT_FOLDER": str(folder), "MAX_QUEUE": "20", "MAX_CONCURRENT_PREDICTIONS": "4"}
    with serving(folder / "model", port, **limits) as running:
        yield running


def resident(server: Server) -> int:
    """Bytes."""
    with open(f"/proc/{server.process.pid}/status") as status:  # noqa: PTH123
        (line,) = [line for line in status if line.startswith("VmHWM")]
    return int(line.split()[1]) * 1024


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("bomb", [name for name in BOMBS if name != "surrogate"])
def test_bodies_that_grow_are_refused_in_few_words(server: Server, path: str, bomb: str) -> None:
    refused = requests.post(
        server.url(path),
        data=BOMBS[bomb],
        headers={"Content-Type": "application/json"},
        timeout=60,
    )
    assert refused.status_code in (400, 413)
    assert len(refused.content) < 1000
    assert resident(server) < 2 * 2**30
    assert server.answers()


def test_half_of_a_character_is_a_character(server: Server) -> None:
    headers = {"Content-Type": "application/json"}
    answer = requests.post(
        server.url("/invocations"), data=BOMBS["surrogate"], headers=headers, timeout=60
    )
    first = answer.text.splitlines()[0].removeprefix("data: ")
    assert json.loads(first)["choices"][0]["delta"]["content"] == "\ud800 "


def test_clients_that_come_and_go_leave_nothing_behind(server: Server) -> None:
    body = json.dumps({"messages": [{"role": "user", "content": "endless"}], "stream": True})
    head = (
        "POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
        f"Content-Length: {len(body)}\r\n\r\n"
    )
    for round_ in range(60):
        with socket.create_connection(("127.0.0.1", server.port), timeout=30) as client:
            client.sendall((head + body).encode())
            if round_ % 2:
                assert client.recv(100)

    def is_answered() -> bool:
        words = {"messages": [{"role": "user", "content": "fine"}]}
        answer = requests.post(server.url("/v1/chat/completions"), json=words, timeout=60)
        return answer.status_code == 200

    wait_until(is_answered, "there is room again")
