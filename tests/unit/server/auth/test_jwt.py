"""Tokens, with real signatures."""

from __future__ import annotations

import base64
import hmac
import json
import time
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from mlflow_model_server.auth import jwks
from mlflow_model_server.auth import jwt as tokens
from tests.unit.server.auth.issuer import (
    AUDIENCE,
    ISSUER,
    PRIVATE,
    Clock,
    FixedKeys,
    key_set,
    public,
    signed,
)


def base64url(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).decode().rstrip("=")


@pytest.fixture
def check() -> Any:
    keys = FixedKeys(dict(jwks.parse(key_set(*map(public, PRIVATE)))))
    return tokens.TokenVerifier(keys, ISSUER, AUDIENCE)


@pytest.fixture
def now() -> float:
    return time.time()


@pytest.mark.parametrize("algorithm", list(PRIVATE))
def test_a_token_names_its_bearer(check: Any, now: float, algorithm: str) -> None:
    token = signed(algorithm, now)
    assert check.identify(token) == "ann"
    assert check.identify(token) == "ann", "remembered"


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
    assert check.identify(signed("RS256", now, **claims)) is None


def test_only_tokens_of_the_named_subjects_are_accepted(now: float) -> None:
    keys = FixedKeys(dict(jwks.parse(key_set(*map(public, PRIVATE)))))
    verifier = tokens.TokenVerifier(keys, ISSUER, AUDIENCE, subjects=["ann", "shop:checkout"])
    assert verifier.identify(signed("RS256", now)) == "ann"
    assert verifier.identify(signed("RS256", now, sub="shop:checkout")) == "shop:checkout"
    for other in ("bob", "an", "ann ", "ANN", "shop"):
        token = signed("RS256", now, sub=other)
        assert verifier.identify(token) is None
        assert verifier.identify(token) is None, "nor the second time"


def test_forged_tokens_are_refused(check: Any, now: float) -> None:
    good = signed("RS256", now)
    head, body, signature = good.split(".")
    other = rsa.generate_private_key(65537, 2048)
    forged = [
        signed("RS256", now, key=other),
        signed("ES256", now, kid="RS256"),
        f"{head}.{body}.{signature[:-4]}AAAA",
        f"{head}.{body}.",
        jwt.encode({"iss": ISSUER, "aud": AUDIENCE, "sub": "ann", "exp": now + 9}, None, "none"),  # type: ignore[arg-type]
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
        assert check.identify(token) is None, token


def test_a_remembered_token_ends_when_it_ends(now: float) -> None:
    keys = FixedKeys(dict(jwks.parse(key_set(public("ES256")))))
    clock = Clock(now)
    check = tokens.TokenVerifier(keys, ISSUER, AUDIENCE, now=clock)
    token = signed("ES256", now, exp=now - 10)  # within the leeway
    assert check.identify(token) == "ann"
    token = signed("ES256", now)
    assert check.identify(token) == "ann"
    keys.keys = dict(jwks.parse(key_set(public("RS256"))))
    assert check.identify(token) is None, "its key was withdrawn"
    assert keys.refreshes == 1, "and the issuer is asked for new ones"


@pytest.mark.parametrize("algorithm", ["RS256", "RS384", "RS512", "PS256", "PS384", "PS512"])
def test_a_key_without_an_algorithm_is_for_all_of_its_type(now: float, algorithm: str) -> None:
    entry = {name: value for name, value in public("RS256").items() if name != "alg"}
    token = signed(algorithm, now, key=PRIVATE["RS256"], kid="RS256")

    def identified(entry: dict[str, Any]) -> str | None:
        keys = FixedKeys(dict(jwks.parse(key_set(entry))))
        return tokens.TokenVerifier(keys, ISSUER, AUDIENCE).identify(token)

    assert identified(entry) == "ann"
    assert identified({**entry, "alg": algorithm}) == "ann"
    other = "RS256" if algorithm != "RS256" else "RS512"
    assert identified({**entry, "alg": other}) is None
