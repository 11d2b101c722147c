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
from mlflow_model_server.auth.admission import Gate, make_gate
from mlflow_model_server.settings import Settings, SettingsError
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
        ("", "there is no key in it: write one per line, as `name:key`"),
        ("# nothing\n", "there is no key in it"),
        ("team-a: short\n", "line 1 is not a key: write `name:key` with a key of at least 16"),
        (f"{KEY}\n:{KEY}\n", "line 2 is not a key"),
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
        def identify(self, token: str) -> str | None:
            named: str | None = tokens.TokenVerifier(FixedKeys({}), ISSUER, AUDIENCE).identify(
                token
            )
            return named

    refused = Gate([Nobody()]).admit([(b"authorization", value)])
    assert refused is not None and refused.status == 401


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


def test_a_gate_fetches_the_keys_by_itself() -> None:
    now = time.time()
    with serving_keys() as (url, answers):
        answers.append(key_set(public("EdDSA")))
        gate = make_gate(
            replace(
                Settings(),
                jwks_url=url,
                jwks_allow_http=True,
                jwt_issuer=ISSUER,
                jwt_audience=AUDIENCE,
            )
        )
        assert gate is not None
        token = bearer(signed("EdDSA", now))
        wait_until(lambda: gate.admit(token) is None, "the keys are fetched")
