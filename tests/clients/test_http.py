"""HTTP as real clients speak it: each one sends the same, and understands the same."""

from __future__ import annotations

import gzip
import json
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import requests
from sklearn.datasets import load_wine

from tests.clients.conftest import Wine
from tests.clients.relay import relay_to
from tests.clients.runner import (
    Response,
    Responses,
    Unavailable,
    command,
    output,
    require,
    responses,
    unavailable,
)

ROWS, LABELS = load_wine(return_X_y=True, as_frame=True)
MANY = 20_000  # rows of the large request: 2 MB
OPTIONS = {
    "curl --http2": ["--http2"],  # asks for an upgrade in each request
    "curl --compressed": ["--compressed"],
}
CLIENTS = [
    "curl",
    *OPTIONS,
    "java.net.http",
    "node fetch",
    "go net/http",
    "requests",
    "httpx",
    "aiohttp",
    "urllib",
]
# For 100 requests, at most: urllib can't keep one, and Node's pool may begin another before it has
# seen the end of a response.
CONNECTIONS = {"urllib": 100, "node fetch": 2}
Ask = Callable[[str], Responses]


def bodies() -> dict[str, bytes]:
    """What is sent, by the name of its file."""
    split = {"columns": list(ROWS.columns), "data": ROWS.head(1).to_numpy().tolist()}
    rows = ROWS.to_numpy().tolist()
    invocations = json.dumps({"dataframe_split": split}).encode()
    large = {**split, "data": (rows * (MANY // len(rows) + 1))[:MANY]}
    tensor = {"name": "rows", "datatype": "FP64", "shape": [1, 13], "data": split["data"]}
    wrong = {"columns": split["columns"], "data": [["secret" * 20_000] * 13]}
    return {
        "invocations": invocations,
        "infer": json.dumps({"id": "7", "inputs": [tensor]}).encode(),
        "large": json.dumps({"dataframe_split": large}).encode(),
        "gzip": gzip.compress(invocations),
        "wrong": json.dumps({"dataframe_split": wrong}).encode(),
    }


@pytest.fixture(scope="session")
def answers(wine: Wine, tmp_path_factory: pytest.TempPathFactory) -> Ask:
    """All that a client is answered; it runs once."""
    folder = tmp_path_factory.mktemp("bodies")
    for name, body in bodies().items():
        (folder / name).write_bytes(body)
    by_client: dict[str, Responses] = {}

    def ask(client: str) -> Responses:
        if client not in by_client:
            by_client[client] = run(client, wine, folder)
        return by_client[client]

    return ask


def run(client: str, wine: Wine, folder: Path) -> Responses:
    try:
        words = command(client)
    except Unavailable as error:
        unavailable(client, error)
    with relay_to(wine.server.port) as relay:
        words = [*words, wine.url, relay.url, str(folder), *OPTIONS.get(client, [])]
        by_case = responses(output(words))
        # Their status stands for how many connections there were.
        by_case["connections"] = [Response(relay.connections, b"")]
    return by_case


def only(responses: list[Response]) -> Response:
    (response,) = responses
    return response


def predictions(response: Response) -> list[int]:
    assert response.status == 200, response.body[:500]
    values: list[int] = json.loads(response.body)["predictions"]
    return values


@pytest.mark.parametrize("client", CLIENTS)
@pytest.mark.parametrize("case", ["invocations", "expect-continue", "gzip"])
def test_predictions(answers: Ask, client: str, case: str) -> None:
    assert predictions(only(answers(client)[case])) == [0]


@pytest.mark.parametrize("client", CLIENTS)
def test_inference(answers: Ask, client: str) -> None:
    response = only(answers(client)["infer"])
    assert response.status == 200, response.body[:500]
    answer = json.loads(response.body)
    assert (answer["id"], answer["model_name"]) == ("7", "wine")
    assert answer["outputs"][0]["data"] == [0]


@pytest.mark.parametrize("client", CLIENTS)
def test_a_hundred_requests_on_a_connection(answers: Ask, client: str) -> None:
    by_case = answers(client)
    assert [response.status for response in by_case["keep-alive"]] == [200] * 100
    assert 1 <= only(by_case["connections"]).status <= CONNECTIONS.get(client, 1)


@pytest.mark.parametrize("client", CLIENTS)
def test_a_large_body_in_chunks(answers: Ask, client: str) -> None:
    labels = predictions(only(answers(client)["chunked"]))
    assert len(labels) == MANY
    right = sum(map(int.__eq__, labels, [*LABELS] * (MANY // len(LABELS) + 1)))
    assert right > 0.95 * MANY


@pytest.mark.parametrize("client", CLIENTS)
def test_head_and_then_get(answers: Ask, client: str) -> None:
    head, get = answers(client)["head"]
    assert head == Response(200, b"")
    assert get.status == 200


@pytest.mark.parametrize("client", CLIENTS)
@pytest.mark.parametrize("case", ["wrong", "wrong-infer"])
def test_what_is_wrong_is_said_in_few_words(answers: Ask, client: str, case: str) -> None:
    response = only(answers(client)[case])
    assert response.status == 400
    assert json.loads(response.body)
    assert len(response.body) < 1000
    assert b"secretsecret" not in response.body


def test_http2_without_an_upgrade_is_refused(wine: Wine) -> None:
    try:
        curl = require("curl --http2-prior-knowledge", "curl", "curl")
    except Unavailable as error:
        unavailable("curl --http2-prior-knowledge", error)
    started = time.monotonic()
    words = [curl, "-sS", "--max-time", "60", "--http2-prior-knowledge", f"{wine.url}/ping"]
    refused = subprocess.run(words, capture_output=True, text=True)
    assert refused.returncode not in (0, 28), "neither answered nor left waiting"
    assert time.monotonic() < started + 30
    assert requests.get(f"{wine.url}/ping", timeout=60).status_code == 200
