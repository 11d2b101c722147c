"""The issuer's keys, from a real key server."""

from __future__ import annotations

import logging
import time
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import rsa

from mlflow_model_server.auth import jwks
from mlflow_model_server.auth import jwt as tokens
from mlflow_model_server.auth.admission import Authenticator, Principal
from mlflow_model_server.responses import ErrorResponse
from tests.unit.server.auth.issuer import (
    AUDIENCE,
    ISSUER,
    Clock,
    key_set,
    public,
    serving_keys,
    signed,
)
from tests.unit.server.auth.test_admission import bearer
from tests.unit.server.process import wait_until


def test_only_asymmetric_keys_for_signatures_are_accepted() -> None:
    secret = {"kty": "oct", "k": "c2VjcmV0", "kid": "secret"}
    encryption = {**public("RS256"), "kid": "enc", "use": "enc"}
    broken = {"kty": "RSA", "kid": "broken"}
    parsed = jwks.parse(key_set(secret, encryption, broken, public("ES256")))
    assert list(parsed) == ["ES256"]
    for body in (key_set(secret), b"{}", b"[]", b"no json", b'{"keys": [1]}'):
        with pytest.raises(ValueError):
            jwks.parse(body)


def test_keys_are_fetched_retained_and_replaced(caplog: pytest.LogCaptureFixture) -> None:
    now = time.time()
    with serving_keys() as (url, answers):
        keys = jwks.KeySet(url, max_age=600, allow_http=True)
        authenticator = Authenticator([tokens.TokenVerifier(keys, ISSUER, AUDIENCE)])

        keys.fetch()
        early = authenticator.authenticate(bearer(signed("RS256", now)))
        assert isinstance(early, ErrorResponse)
        assert (early.status, early.error_code) == (503, "TEMPORARILY_UNAVAILABLE")
        assert (b"retry-after", b"5") in early.headers

        answers.append(key_set(public("RS256")))
        keys.fetch()
        assert isinstance(authenticator.authenticate(bearer(signed("RS256", now))), Principal)
        assert isinstance(authenticator.authenticate(bearer(signed("ES256", now))), ErrorResponse)

        answers.append(key_set(public("ES256")))
        keys.fetch()
        assert isinstance(authenticator.authenticate(bearer(signed("ES256", now))), Principal)
    caplog.clear()
    keys.fetch()
    assert "the previous keys stay valid for now" in caplog.text
    assert isinstance(authenticator.authenticate(bearer(signed("ES256", now))), Principal)


NOTHING = b"{}"
ODD_ANSWERS: dict[str, bytes] = {
    "deep": b"[" * 100_000,
    "long": b" " * (2 << 20),
    "no text": b"\xff\xfe\x00",
    "huge number": b'{"keys": ' + b"1" * 100_000 + b"}",
    "none": key_set({**public("RS256"), "alg": "none"}),
    "encryption": key_set({**public("RS256"), "alg": "RSA-OAEP"}),
    "a list as id": key_set({**public("RS256"), "kid": []}),
    "no curve": key_set({"kty": "EC", "crv": ["P-256"], "x": "x", "y": "y"}),
    "no point": key_set({**public("ES256"), "x": "AAAA"}),
    "no number": key_set({**public("RS256"), "n": {}}),
    "zero": key_set({**public("RS256"), "n": "", "e": ""}),
    "line breaks": key_set({**public("RS256"), "kid": "a\nERROR forged", "alg": "x\ny"}),
}


@pytest.mark.parametrize("answer", ODD_ANSWERS.values(), ids=ODD_ANSWERS)
def test_no_answer_ends_the_refreshes(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, answer: bytes
) -> None:
    monkeypatch.setattr(jwks, "_REFRESH_INTERVAL", 0.01)
    monkeypatch.setattr(jwks, "_RETRY_INTERVAL", 0.01)
    with serving_keys() as (url, answers):
        answers.append(key_set({**public("RS256"), "kid": "revoked"}))
        keys = jwks.KeySet(url, max_age=600, allow_http=True)
        keys.start()
        wait_until(lambda: keys.current() is not None, "the keys are fetched")
        answers.append(answer)
        wait_until(lambda: "returned no usable keys" in caplog.text, "the odd answer is logged")
        answers.append(key_set(public("ES256")))
        wait_until(lambda: list(keys.current() or {}) == ["ES256"], "the keys are replaced")
        monkeypatch.undo()
    for record in caplog.records:
        assert len(record.getMessage()) < 1000 and "\n" not in record.getMessage()


def test_a_panic_of_the_cryptographic_library_is_an_answer_as_any(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    class Panic(BaseException):
        """As pyo3's, which is no Exception."""

    def parse(body: bytes) -> Any:
        raise Panic("called `Option::unwrap()` on a `None` value")

    monkeypatch.setattr(jwks, "parse", parse)
    with serving_keys() as (url, answers):
        answers.append(NOTHING)
        jwks.KeySet(url, max_age=600, allow_http=True).fetch()
    assert "returned no usable keys: Panic: called `Option::unwrap()`" in caplog.text


def test_keys_that_are_not_confirmed_expire() -> None:
    clock = Clock()
    with serving_keys() as (url, answers):
        keys = jwks.KeySet(url, max_age=3600, allow_http=True, now=clock)
        authenticator = Authenticator([tokens.TokenVerifier(keys, ISSUER, AUDIENCE)])
        token = bearer(signed("ES256", time.time()))
        answers.append(key_set(public("ES256")))
        keys.fetch()
        for answer in (key_set(public("ES256")), NOTHING):
            clock.moment += 3000
            answers.append(answer)
            keys.fetch()
            assert isinstance(authenticator.authenticate(token), Principal)
        clock.moment += 601
        expired = authenticator.authenticate(token)
        assert isinstance(expired, ErrorResponse)
        assert (expired.status, expired.error_code) == (503, "TEMPORARILY_UNAVAILABLE")
        answers.append(key_set(public("ES256")))
        keys.fetch()
        assert isinstance(authenticator.authenticate(token), Principal)


@pytest.mark.parametrize("bits", [1024, 2047])
def test_short_rsa_keys_are_refused(caplog: pytest.LogCaptureFixture, bits: int) -> None:
    short = {**public("RS256", rsa.generate_private_key(65537, bits)), "kid": "short"}
    assert list(jwks.parse(key_set(short, public("ES256")))) == ["ES256"]
    assert f"an RSA key of {bits} bits is not accepted: use one of at least 2048" in caplog.text


def test_the_url_is_logged_without_its_password(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    with serving_keys() as (url, answers):
        secret = url.replace("http://", "http://me:secret@")
        answers.append(key_set(public("ES256")))
        for keys in (jwks.KeySet(f"{secret}?token=secret", 600, allow_http=True),):
            keys.fetch()
    keys.fetch()
    assert "secret" not in caplog.text
