"""An issuer of tokens: its keys, its tokens, and its key server."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any

import jwt
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa

ISSUER, AUDIENCE = "https://issuer.example.com", "models"
PRIVATE: dict[str, Any] = {
    "RS256": rsa.generate_private_key(65537, 2048),
    "ES256": ec.generate_private_key(ec.SECP256R1()),
    "EdDSA": ed25519.Ed25519PrivateKey.generate(),
}


class Clock:
    def __init__(self, moment: float = 1000.0) -> None:
        self.moment = moment

    def __call__(self) -> float:
        return self.moment


class FixedKeys:
    """Keys that need not be fetched."""

    def __init__(self, keys: dict[str | None, Any]) -> None:
        self.keys = keys
        self.refreshes = 0

    def current(self) -> dict[str | None, Any]:
        return self.keys

    def refresh_soon(self) -> None:
        self.refreshes += 1


def public(algorithm: str, private: Any = None) -> dict[str, Any]:
    """The public key as an entry of a key set, with the algorithm as its id."""
    handler = jwt.get_algorithm_by_name(algorithm)
    entry: dict[str, Any] = handler.to_jwk(
        (private or PRIVATE[algorithm]).public_key(), as_dict=True
    )
    return {**entry, "kid": algorithm, "use": "sig"}


def key_set(*entries: dict[str, Any]) -> bytes:
    return json.dumps({"keys": entries}).encode()


def signed(
    algorithm: str, now: float, key: Any = None, kid: str | None = None, **claims: Any
) -> str:
    payload = {"iss": ISSUER, "aud": AUDIENCE, "sub": "ann", "exp": now + 600, **claims}
    payload = {name: value for name, value in payload.items() if value is not None}
    token: str = jwt.encode(
        payload, key or PRIVATE[algorithm], algorithm, headers={"kid": kid or algorithm}
    )
    return token


@contextmanager
def serving_keys() -> Iterator[tuple[str, list[bytes]]]:
    """A key server's URL, and what it answers: the list's last; with none it answers 500."""
    answers: list[bytes] = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200 if answers else 500)
            self.end_headers()
            self.wfile.write(answers[-1] if answers else b"")

        def log_message(self, format: str, *args: Any) -> None:
            pass

    server = HTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/keys", answers
    finally:
        server.shutdown()
        server.server_close()
