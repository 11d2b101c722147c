"""Paths that are to pass by keys, tokens and limits: other spellings of the ones that need them."""

from __future__ import annotations

import socket
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import requests

from mlflow_model_server.settings import Settings
from tests.unit.server import models
from tests.unit.server.auth import issuer
from tests.unit.server.process import Server, serving, wait_until

KEY = "k" * 32
OPEN = ["/ping", "/health", "/version", "/v2/health/live", "/v2/health/ready"]
ROUTES = [
    "/invocations",
    "/openapi.json",
    "/v2",
    "/v2/models/wine",
    "/v2/models/wine/ready",
    "/v2/models/wine/infer",
    "/v2/repository/index",
    "/v2/repository/models/wine/load",
    "/v2/repository/models/wine/unload",
    "/v2/models/wine/versions/3",
    "/v2/models/wine/versions/3/ready",
    "/v2/models/wine/versions/3/infer",
    "/v1/chat/completions",
    "/v1/responses",
    "/responses",
    "/v1/models",
    "/v1/models/wine",
    "/nothing",
]
INFER = b'{"inputs":[{"name":"x","datatype":"FP64","shape":[1,1],"data":[1]}]}'


def spellings(path: str) -> list[str]:
    """Ways to write a path, raw as they go over the wire."""
    last = path[-1]
    return [
        path,
        f"{path}/",
        f"{path}//",
        f"{path}%2F",
        f"{path}%2f%2f",
        f"{path}/.",
        f"{path}/../{path.rpartition('/')[2]}",
        f"/{path}",
        path.upper(),
        f"{path[:-1]}%{ord(last):02x}",
        f"{path};x=1",
        f"{path}?x=/ping",
        f"{path}%00",
        f"{path}%20",
        f"/ping/..{path}",
        f"/v2/health/live/..{path}",
        f"http://x{path}",
    ]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    folder = tmp_path_factory.mktemp("guarded")
    models.save_wine(folder / "model" / "artifact")
    (folder / "keys").write_text(f"alice:{KEY}\n")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    environment = {"API_KEYS_FILE": str(folder / "keys"), "MODEL_URI": "models:/wine/3"}
    with serving(folder / "model", port, REQUEST_LOG="stdout", **environment) as server:
        yield server


def status(server: Server, method: str, path: str, body: bytes = INFER, key: str = "") -> int:
    """The status of a request whose path goes over the wire as it is."""
    headers = {"Host": "x", "Content-Type": "application/json", "Connection": "close"}
    if key:
        headers["Authorization"] = f"Bearer {key}"
    head = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
    length = f"Content-Length: {len(body)}\r\n"
    with socket.create_connection(("127.0.0.1", server.port), timeout=30) as client:
        client.sendall(f"{method} {path} HTTP/1.1\r\n{head}{length}\r\n".encode() + body)
        answer = client.makefile("rb").readline()
    return int(answer.split()[1])


@pytest.mark.parametrize("path", ROUTES)
@pytest.mark.parametrize("method", ["GET", "POST", "HEAD", "PUT", "OPTIONS"])
def test_nothing_but_the_open_routes_is_answered_without_a_key(
    server: Server, path: str, method: str
) -> None:
    statuses = {spelling: status(server, method, spelling) for spelling in spellings(path)}
    passed = {spelling: code for spelling, code in statuses.items() if code not in (400, 401)}
    assert not passed


@pytest.mark.parametrize("path", OPEN)
def test_the_open_routes_are_answered_without_a_key(server: Server, path: str) -> None:
    assert status(server, "GET", path, b"") == 200


def test_with_a_key_the_routes_are_answered(server: Server) -> None:
    for path in ("/v2", "/openapi.json", "/v2/models/wine", "/v2/models/wine/versions/3/ready"):
        assert status(server, "GET", path, b"", key=KEY) == 200
    assert status(server, "GET", "/nothing", b"", key=KEY) == 404


def test_the_request_log_names_nobody_who_did_not_ask(server: Server) -> None:
    def logged() -> int:
        return server.output.read_text().count("alice")

    def admitted() -> None:
        """One request of alice's; it is in the log, with all before it, when this returns."""
        before = logged()
        infer = server.url("/v2/models/wine/infer")
        headers = {"Authorization": f"Bearer {KEY}"}
        response = requests.post(infer, data=INFER, headers=headers, timeout=30)
        assert response.status_code == 400  # the model has another signature
        wait_until(lambda: logged() > before, "the request is in the log")

    admitted()
    before = logged()
    for spelling in spellings("/v2/models/wine/infer"):
        status(server, "POST", spelling)
    admitted()
    assert logged() == before + 1


@pytest.mark.parametrize("path", ["/v2/models/wine/infer", "/invocations", "/v2", "/nothing"])
def test_the_rate_limit_holds_for_every_spelling(
    settings: Settings, model: Path, unused_tcp_port: int, path: str
) -> None:
    models.save_wine(model)
    limits = {"RATE_LIMIT": "0.01", "RATE_BURST": "2", "MODEL_NAME": "wine"}
    with serving(settings.model_dir, unused_tcp_port, **limits) as limited:
        statuses = [status(limited, "POST", spelling) for spelling in spellings(path)]
    assert all(code in (400, 429) for code in statuses[2:]), statuses
    assert statuses.count(429) >= len(statuses) - 4


def test_tokens_are_needed_for_every_spelling(
    settings: Settings, model: Path, unused_tcp_port: int
) -> None:
    models.save_wine(model)
    with issuer.serving_keys() as (url, answers):
        answers.append(issuer.key_set(issuer.public("RS256")))
        variables = {
            "JWKS_URL": url,
            "JWKS_ALLOW_HTTP": "true",
            "JWT_ISSUER": issuer.ISSUER,
            "JWT_AUDIENCE": issuer.AUDIENCE,
            "MODEL_NAME": "wine",
        }
        with serving(settings.model_dir, unused_tcp_port, **variables) as server:
            token = issuer.signed("RS256", time.time())
            expired = issuer.signed("RS256", time.time() - 6_000)
            wait_until(lambda: status(server, "GET", "/v2", b"", token) == 200, "keys are there")
            for spelling in (each for path in ROUTES for each in spellings(path)):
                for credentials in ("", expired):
                    code = status(server, "POST", spelling, key=credentials)
                    assert code in (400, 401), spelling


def test_the_queue_is_bounded_for_every_spelling(
    settings: Settings, model: Path, tmp_path: Path, unused_tcp_port: int
) -> None:
    models.save_from_code(model, models.SLOW)
    body = b'{"dataframe_split":{"columns":["x"],"data":[[5]]}}'
    variables = {"SLOW_FOLDER": str(tmp_path), "MAX_QUEUE": "1"}
    with (
        serving(settings.model_dir, unused_tcp_port, **variables) as server,
        ThreadPoolExecutor(1) as client,
    ):
        waiting = client.submit(status, server, "POST", "/invocations", body)
        wait_until((tmp_path / "begun").exists, "a prediction begins")
        # One that passed by the limit would wait too, for longer than this client does.
        codes = {each: status(server, "POST", each, body) for each in spellings("/invocations")}
        (tmp_path / "go").touch()
        assert waiting.result(60) == 200
    assert codes["/invocations"] == 503
    assert set(codes.values()) <= {400, 404, 405, 503}, codes
