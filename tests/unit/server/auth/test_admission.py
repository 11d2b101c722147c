"""Who is admitted: keys, tokens and the rate limit together."""

from __future__ import annotations

import base64
import time
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlflow_model_server.auth import jwt as tokens
from mlflow_model_server.auth.admission import Authenticator, Principal, make_authenticator
from mlflow_model_server.responses import ErrorResponse
from mlflow_model_server.runtime.termination import StartupError
from mlflow_model_server.settings import Settings
from tests.unit.server.auth.issuer import (
    AUDIENCE,
    ISSUER,
    FixedKeys,
    key_set,
    public,
    serving_keys,
    signed,
)
from tests.unit.server.process import wait_until

KEY = "0123456789abcdef-one"
OTHER = "0123456789abcdef-two"


def bearer(key: str) -> list[tuple[bytes, bytes]]:
    return [(b"host", b"x"), (b"authorization", f"Bearer {key}".encode("latin-1", "replace"))]


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("", "it contains no key: write one per line, as `name:key`"),
        ("# nothing\n", "it contains no key"),
        ("team-a: short\n", "line 1 is not a key: write `name:key` with a key of at least 16"),
        (f"{KEY}\n:{KEY}\n", "line 2 is not a key"),
    ],
)
def test_a_file_without_good_keys_is_refused(tmp_path: Path, text: str, sentence: str) -> None:
    file = tmp_path / "keys"
    file.write_text(text)
    settings = replace(Settings(), api_keys_file=file)
    with pytest.raises(
        StartupError, match=rf"AccessSecretInvalid: API_KEYS_FILE .*{sentence}"
    ) as error:
        make_authenticator(settings)
    assert KEY not in str(error.value)
    file.unlink()
    with pytest.raises(StartupError, match=r"AccessSecretInvalid: .*No such file"):
        make_authenticator(settings)


def test_without_keys_and_limits_there_is_no_authenticator() -> None:
    assert make_authenticator(Settings()) is None


def test_only_the_bearer_of_a_key_comes_in(tmp_path: Path) -> None:
    file = tmp_path / "keys"
    file.write_text(f"team-a:{KEY}\n")
    authenticator = make_authenticator(replace(Settings(), api_keys_file=file))
    assert authenticator is not None
    assert authenticator.authenticate(bearer(KEY)) == Principal("team-a")
    assert isinstance(
        authenticator.authenticate([(b"authorization", f"bEaReR   {KEY}".encode())]), Principal
    )

    unknown = authenticator.authenticate([])
    assert isinstance(unknown, ErrorResponse) and (unknown.status, unknown.error_code) == (
        401,
        "UNAUTHENTICATED",
    )
    assert unknown.headers == ((b"www-authenticate", b"Bearer"),)
    for wrong in (KEY[:-1], KEY + "x", KEY.upper(), "", "\xff", f"team-a:{KEY}", "a.b.c"):
        refused = authenticator.authenticate(bearer(wrong))
        assert isinstance(refused, ErrorResponse) and refused.status == 401, wrong
    assert isinstance(
        authenticator.authenticate(
            [(b"authorization", b"Basic " + base64.b64encode(KEY.encode()))]
        ),
        ErrorResponse,
    )


@given(st.binary())
def test_no_header_brings_authentication_down(value: bytes) -> None:
    class Nobody:
        def identify(self, token: str) -> str | None:
            named: str | None = tokens.TokenVerifier(FixedKeys({}), ISSUER, AUDIENCE).identify(
                token
            )
            return named

    refused = Authenticator([Nobody()]).authenticate([(b"authorization", value)])
    assert isinstance(refused, ErrorResponse) and refused.status == 401


def test_who_asks_too_often_is_told_when_to_come_back(tmp_path: Path) -> None:
    authenticator = make_authenticator(replace(Settings(), rate_limit=0.1))
    assert authenticator is not None
    assert isinstance(authenticator.authenticate([], address="10.0.0.1"), Principal)
    refused = authenticator.authenticate([], address="10.0.0.1")
    assert isinstance(refused, ErrorResponse)
    assert (refused.status, refused.error_code) == (429, "REQUEST_LIMIT_EXCEEDED")
    assert refused.retry_after is not None and 9 < refused.retry_after <= 10
    assert refused.headers == ((b"retry-after", b"10"),)
    assert isinstance(authenticator.authenticate([], address="10.0.0.2"), Principal), (
        "without keys each address has its own"
    )


def test_a_limit_goes_by_the_key_where_there_are_keys(tmp_path: Path) -> None:
    file = tmp_path / "keys"
    file.write_text(f"team-a:{KEY}\nteam-b:{OTHER}\n")
    authenticator = make_authenticator(
        replace(Settings(), api_keys_file=file, rate_limit=1, rate_burst=1)
    )
    assert authenticator is not None
    assert isinstance(authenticator.authenticate(bearer(KEY), address="10.0.0.1"), Principal)
    refused = authenticator.authenticate(bearer(KEY), address="10.0.0.2")
    assert isinstance(refused, ErrorResponse) and refused.status == 429
    assert isinstance(authenticator.authenticate(bearer(OTHER), address="10.0.0.1"), Principal)


def test_an_authenticator_fetches_the_keys_by_itself() -> None:
    now = time.time()
    with serving_keys() as (url, answers):
        answers.append(key_set(public("EdDSA")))
        authenticator = make_authenticator(
            replace(
                Settings(),
                jwks_url=url,
                jwks_allow_http=True,
                jwt_issuer=ISSUER,
                jwt_audience=AUDIENCE,
            )
        )
        assert authenticator is not None
        token = bearer(signed("EdDSA", now))
        wait_until(
            lambda: isinstance(authenticator.authenticate(token), Principal), "the keys are fetched"
        )
