"""Keys, tokens and the rate limit, with real files, a real key server and real signatures."""

from __future__ import annotations

import base64
import hmac
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from hypothesis import given
from hypothesis import strategies as st

from mlflow_model_server.auth import api_keys as key_file
from mlflow_model_server.auth.admission import Gate, make_gate
from mlflow_model_server.auth.api_keys import KeyFile
from mlflow_model_server.auth.errors import KeysError
from mlflow_model_server.auth.rate_limit import RateLimit
from mlflow_model_server.settings import Settings, SettingsError

jwt = pytest.importorskip("jwt")
tokens = pytest.importorskip("mlflow_model_server.auth.jwt")

KEY = "0123456789abcdef-one"
OTHER = "0123456789abcdef-two"
ISSUER, AUDIENCE = "https://issuer.example.com", "models"


class Clock:
    def __init__(self, moment: float = 1000.0) -> None:
        self.moment = moment

    def __call__(self) -> float:
        return self.moment


def bearer(key: str) -> list[tuple[bytes, bytes]]:
    return [(b"host", b"x"), (b"authorization", f"Bearer {key}".encode("latin-1", "replace"))]


# Keys


def test_keys_have_names_and_lines_may_be_comments() -> None:
    parsed = key_file.parse(f"# of team a\nteam-a: {KEY}\n\n{OTHER}\n")
    assert sorted(parsed.values()) == ["key-4", "team-a"]
    assert KEY.encode() not in parsed, "only digests are kept"


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("", "there is no key in it: write one a line, as `name:key`"),
        ("# nothing\n", "there is no key in it"),
        ("team-a: short\n", "line 1 is no key: write `name:key` with a key of at least 16"),
        (f"{KEY}\n:{KEY}\n", "line 2 is no key"),
    ],
)
def test_a_file_without_good_keys_is_refused(tmp_path: Path, text: str, sentence: str) -> None:
    file = tmp_path / "keys"
    file.write_text(text)
    settings = replace(Settings(), api_keys_file=file)
    with pytest.raises(SettingsError, match=f"API_KEYS_FILE .*{sentence}") as error:
        make_gate(settings)
    assert KEY not in str(error.value)
    file.unlink()
    with pytest.raises(SettingsError, match="No such file"):
        make_gate(settings)


def test_without_keys_and_limits_there_is_no_gate() -> None:
    assert make_gate(Settings()) is None


def test_only_the_bearer_of_a_key_comes_in(tmp_path: Path) -> None:
    file = tmp_path / "keys"
    file.write_text(f"team-a:{KEY}\n")
    gate = make_gate(replace(Settings(), api_keys_file=file))
    assert gate is not None
    assert gate.admit(bearer(KEY)) is None and gate.caller == "team-a"
    assert gate.admit([(b"authorization", f"bEaReR   {KEY}".encode())]) is None

    unknown = gate.admit([])
    assert unknown is not None and (unknown.status, unknown.error_code) == (401, "UNAUTHENTICATED")
    assert unknown.headers == ((b"www-authenticate", b"Bearer"),)
    for wrong in (KEY[:-1], KEY + "x", KEY.upper(), "", "\xff", f"team-a:{KEY}", "a.b.c"):
        refused = gate.admit(bearer(wrong))
        assert refused is not None and refused.status == 401, wrong
    assert gate.admit([(b"authorization", b"Basic " + base64.b64encode(KEY.encode()))]) is not None


@given(st.binary())
def test_no_header_brings_the_gate_down(value: bytes) -> None:
    class Nobody:
        def caller(self, token: str) -> str | None:
            named: str | None = tokens.TokenCheck(KeysOf({}), ISSUER, AUDIENCE).caller(token)
            return named

    refused = Gate([Nobody()]).admit([(b"authorization", value)])
    assert refused is not None and refused.status == 401


def test_a_changed_secret_is_seen_within_a_second(tmp_path: Path) -> None:
    """Kubernetes puts a link to a new folder in place of the old one, in one step."""
    for name, key in (("..first", KEY), ("..second", OTHER)):
        (tmp_path / name).mkdir()
        (tmp_path / name / "keys").write_text(f"team-a:{key}\n")
    (tmp_path / "..data").symlink_to("..first")
    (tmp_path / "keys").symlink_to("..data/keys")
    clock = Clock()
    keys = KeyFile(tmp_path / "keys", now=clock)
    assert keys.caller(KEY) == "team-a"

    (tmp_path / "..data_tmp").symlink_to("..second")
    (tmp_path / "..data_tmp").replace(tmp_path / "..data")
    clock.moment += 1.0
    assert (keys.caller(KEY), keys.caller(OTHER)) == (None, "team-a")


def test_keys_stay_while_the_file_is_gone_or_broken(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    file, clock = tmp_path / "keys", Clock()
    file.write_text(f"team-a:{KEY}\n")
    keys = KeyFile(file, now=clock)
    for break_it in (file.unlink, lambda: file.write_text("short")):
        break_it()
        clock.moment += 1.0
        assert keys.caller(KEY) == "team-a"
    assert "the keys read before stay" in caplog.text
    file.write_text(f"team-b:{OTHER}\n")
    clock.moment += 1.0
    assert (keys.caller(KEY), keys.caller(OTHER)) == (None, "team-b")


def test_a_missing_file_is_told_by_its_name(tmp_path: Path) -> None:
    with pytest.raises(KeysError, match=r"API_KEYS_FILE .*/none"):
        KeyFile(tmp_path / "none")


# The rate limit


def test_a_caller_may_ask_so_often_and_no_more() -> None:
    clock = Clock()
    limit = RateLimit(rate=2, burst=4, now=clock)
    assert [limit.wait("a") for _ in range(5)] == [0, 0, 0, 0, 0.5]
    assert limit.wait("b") == 0, "each has its own"
    clock.moment += 0.5
    assert [limit.wait("a"), limit.wait("a")] == [0, 0.5]
    clock.moment += 1000
    assert [limit.wait("a") for _ in range(5)] == [0, 0, 0, 0, 0.5], "no more than a burst"


@given(st.lists(st.tuples(st.floats(0, 3), st.integers(0, 2)), max_size=60))
def test_never_more_than_rate_and_burst_allow(steps: list[tuple[float, int]]) -> None:
    clock, allowed = Clock(0), 0
    limit = RateLimit(rate=1.5, burst=3, now=clock)
    for pause, requests in steps:
        clock.moment += pause
        allowed += sum(limit.wait("a") == 0 for _ in range(requests))
    assert allowed <= 3 + 1.5 * clock.moment + 1e-6


def test_made_up_callers_fill_no_memory() -> None:
    limit = RateLimit(rate=1, burst=1)
    for number in range(20_000):
        limit.wait(str(number))
    assert len(limit._buckets) == 10_000


def test_who_asks_too_often_is_told_when_to_come_back(tmp_path: Path) -> None:
    gate = make_gate(replace(Settings(), rate_limit=0.1))
    assert gate is not None
    assert gate.admit([], client="10.0.0.1") is None
    refused = gate.admit([], client="10.0.0.1")
    assert refused is not None
    assert (refused.status, refused.error_code) == (429, "REQUEST_LIMIT_EXCEEDED")
    assert refused.retry_after is not None and 9 < refused.retry_after <= 10
    assert refused.headers == ((b"retry-after", b"10"),)
    assert gate.admit([], client="10.0.0.2") is None, "without keys each address has its own"


def test_a_limit_goes_by_the_key_where_there_are_keys(tmp_path: Path) -> None:
    file = tmp_path / "keys"
    file.write_text(f"team-a:{KEY}\nteam-b:{OTHER}\n")
    gate = make_gate(replace(Settings(), api_keys_file=file, rate_limit=1, rate_burst=1))
    assert gate is not None
    assert gate.admit(bearer(KEY), client="10.0.0.1") is None
    refused = gate.admit(bearer(KEY), client="10.0.0.2")
    assert refused is not None and refused.status == 429
    assert gate.admit(bearer(OTHER), client="10.0.0.1") is None


# Tokens


def base64url(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).decode().rstrip("=")


class KeysOf(tokens.KeySet):  # type: ignore[misc, name-defined]
    """A set of keys that is known already."""

    def __init__(self, keys: dict[str | None, Any]) -> None:
        super().__init__("http://127.0.0.1:9/none")
        self.keys = keys
        self.asked = 0

    def ask(self) -> None:
        self.asked += 1


PRIVATE: dict[str, Any] = {
    "RS256": rsa.generate_private_key(65537, 2048),
    "ES256": ec.generate_private_key(ec.SECP256R1()),
    "EdDSA": ed25519.Ed25519PrivateKey.generate(),
}


def public(algorithm: str) -> dict[str, Any]:
    """The public key as an entry of a key set, with the algorithm as its id."""
    handler = jwt.get_algorithm_by_name(algorithm)
    entry: dict[str, Any] = handler.to_jwk(PRIVATE[algorithm].public_key(), as_dict=True)
    return {**entry, "kid": algorithm, "use": "sig"}


def key_set(*entries: dict[str, Any]) -> bytes:
    return json.dumps({"keys": entries}).encode()


def signed(
    algorithm: str, now: float, key: Any = None, kid: str | None = None, **claims: Any
) -> str:
    told = {"iss": ISSUER, "aud": AUDIENCE, "sub": "ann", "exp": now + 600, **claims}
    told = {name: value for name, value in told.items() if value is not None}
    token: str = jwt.encode(
        told, key or PRIVATE[algorithm], algorithm, headers={"kid": kid or algorithm}
    )
    return token


@pytest.fixture
def check() -> Any:
    keys = KeysOf(dict(tokens.parse(key_set(*map(public, PRIVATE)))))
    return tokens.TokenCheck(keys, ISSUER, AUDIENCE)


@pytest.fixture
def now() -> float:
    import time

    return time.time()


@pytest.mark.parametrize("algorithm", list(PRIVATE))
def test_a_token_names_its_bearer(check: Any, now: float, algorithm: str) -> None:
    token = signed(algorithm, now)
    assert check.caller(token) == "ann"
    assert check.caller(token) == "ann", "remembered"


@pytest.mark.parametrize(
    "claims",
    [
        {"aud": "others"},
        {"aud": None},
        {"iss": "https://else.example.com"},
        {"iss": None},
        {"exp": 1000},
        {"exp": None},
        {"sub": None},
        {"nbf": 99999999999},
    ],
    ids=str,
)
def test_a_token_for_others_or_another_time_is_refused(
    check: Any, now: float, claims: dict[str, Any]
) -> None:
    assert check.caller(signed("RS256", now, **claims)) is None


def test_forged_tokens_are_refused(check: Any, now: float) -> None:
    good = signed("RS256", now)
    head, body, signature = good.split(".")
    other = rsa.generate_private_key(65537, 2048)
    forged = [
        signed("RS256", now, key=other),
        signed("ES256", now, kid="RS256"),
        f"{head}.{body}.{signature[:-4]}AAAA",
        f"{head}.{body}.",
        jwt.encode({"sub": "ann", "iss": ISSUER, "aud": AUDIENCE, "exp": now + 9}, None, "none"),
        "a.b.c",
        "..",
        "x" * 10_000 + "..",
    ]
    # The public key taken for a shared secret: a classic.
    symmetric = base64url(json.dumps({"alg": "HS256", "kid": "RS256"}).encode())
    secret = (
        PRIVATE["RS256"].public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    )
    signature = base64url(hmac.digest(secret, f"{symmetric}.{body}".encode(), "sha256"))
    forged.append(f"{symmetric}.{body}.{signature}")
    for token in forged:
        assert check.caller(token) is None, token


def test_a_remembered_token_ends_when_it_ends(now: float) -> None:
    keys = KeysOf(dict(tokens.parse(key_set(public("ES256")))))
    clock = Clock(now)
    check = tokens.TokenCheck(keys, ISSUER, AUDIENCE, now=clock)
    token = signed("ES256", now, exp=now - 10)  # within the leeway
    assert check.caller(token) == "ann"
    token = signed("ES256", now)
    assert check.caller(token) == "ann"
    keys.keys = dict(tokens.parse(key_set(public("RS256"))))
    assert check.caller(token) is None, "its key was withdrawn"
    assert keys.asked == 1, "and the issuer is asked for new ones"


def test_only_asymmetric_keys_for_signatures_are_taken() -> None:
    secret = {"kty": "oct", "k": "c2VjcmV0", "kid": "secret"}
    encryption = {**public("RS256"), "kid": "enc", "use": "enc"}
    broken = {"kty": "RSA", "kid": "broken"}
    parsed = tokens.parse(key_set(secret, encryption, broken, public("ES256")))
    assert list(parsed) == ["ES256"]
    for body in (key_set(secret), b"{}", b"[]", b"no json", b'{"keys": [1]}'):
        with pytest.raises(ValueError):
            tokens.parse(body)


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


def test_keys_are_fetched_kept_and_replaced(now: float, caplog: pytest.LogCaptureFixture) -> None:
    with serving_keys() as (url, answers):
        keys = tokens.KeySet(url)
        gate = Gate([tokens.TokenCheck(keys, ISSUER, AUDIENCE)])

        keys.fetch()
        early = gate.admit(bearer(signed("RS256", now)))
        assert early is not None
        assert (early.status, early.error_code) == (503, "TEMPORARILY_UNAVAILABLE")
        assert (b"retry-after", b"5") in early.headers

        answers.append(key_set(public("RS256")))
        keys.fetch()
        assert gate.admit(bearer(signed("RS256", now))) is None
        assert gate.admit(bearer(signed("ES256", now))) is not None

        answers.append(key_set(public("ES256")))
        keys.fetch()
        assert gate.admit(bearer(signed("ES256", now))) is None
    caplog.clear()
    keys.fetch()
    assert "the keys fetched before stay" in caplog.text
    assert gate.admit(bearer(signed("ES256", now))) is None


def test_a_gate_fetches_the_keys_by_itself(now: float) -> None:
    from tests.unit.server.process import wait_until

    with serving_keys() as (url, answers):
        answers.append(key_set(public("EdDSA")))
        gate = make_gate(
            replace(Settings(), jwks_url=url, jwt_issuer=ISSUER, jwt_audience=AUDIENCE)
        )
        assert gate is not None
        token = bearer(signed("EdDSA", now))
        wait_until(lambda: gate.admit(token) is None, "the keys are fetched")
