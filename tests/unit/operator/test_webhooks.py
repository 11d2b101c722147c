"""The endpoint for webhooks: only what is signed, recent and new gives a hint, and nothing more."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import hmac
import json
import logging
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlflow_model_operator import http, webhooks
from mlflow_model_operator.settings import WebhookSettings
from mlflow_model_operator.webhooks.delivery import (
    DELIVERY_ID,
    MAX_BODY_BYTES,
    MAX_REMEMBERED,
    MAX_SKEW,
    SIGNATURE,
    TIMESTAMP,
    Refused,
    Replays,
    Stamp,
    read_model,
    read_stamp,
    verify,
)

KEY = b"a key of sixteen or more bytes"
OTHER_KEY = b"another key that is long enough"
NOW = 1_800_000_000.0
BODY = json.dumps(
    {
        "entity": "model_version_alias",
        "action": "created",
        "timestamp": "2027-01-15T08:00:00+00:00",
        "data": {"name": "wine", "alias": "champion", "version": "2"},
    }
).encode()


def signed(
    body: bytes = BODY, key: bytes = KEY, at: float = NOW, delivery: str = "d-1"
) -> dict[str, str]:
    """The headers of a delivery, as MLflow signs them."""
    content = f"{delivery}.{at:.0f}.".encode() + body
    digest = hmac.new(key, content, hashlib.sha256).digest()
    return {
        SIGNATURE: f"v1,{base64.b64encode(digest).decode()}",
        TIMESTAMP: f"{at:.0f}",
        DELIVERY_ID: delivery,
    }


@dataclass
class Operator:
    """One replica with its endpoint."""

    keys: Path
    port: int = 0
    leads: bool = True
    leader: str | None = None
    hints: list[str] = field(default_factory=list)
    results: Counter[str] = field(default_factory=Counter)

    def webhook_delivered(self, result: str) -> None:
        self.results[result] += 1

    def receiver(self) -> webhooks.Receiver:
        return webhooks.Receiver(
            WebhookSettings(0, self.keys),
            hint=self.hints.append,
            is_leading=lambda: self.leads,
            leader_address=lambda: self.leader,
            observer=self,
            clock=lambda: NOW,
        )

    async def deliver(
        self, headers: dict[str, str] | None = None, body: bytes = BODY, method: str = "POST"
    ) -> tuple[int, str]:
        url = f"http://127.0.0.1:{self.port}/webhooks/mlflow"
        async with (
            aiohttp.ClientSession() as session,
            session.request(
                method, url, data=body, headers=signed(body) if headers is None else headers
            ) as response,
        ):
            return response.status, await response.text()


@pytest.fixture
def keys(tmp_path: Path) -> Path:
    """A Secret as the kubelet mounts it."""
    (tmp_path / "..data").mkdir()
    (tmp_path / "key").write_bytes(KEY + b"\n")
    return tmp_path


@pytest.fixture
async def stack() -> AsyncIterator[AsyncExitStack]:
    async with AsyncExitStack() as stack:
        yield stack


async def start(stack: AsyncExitStack, keys: Path) -> Operator:
    operator = Operator(keys)
    operator.port = await stack.enter_async_context(webhooks.serve(operator.receiver()))
    return operator


@pytest.fixture
async def operator(stack: AsyncExitStack, keys: Path) -> Operator:
    return await start(stack, keys)


async def test_a_signed_delivery_is_a_hint_for_its_model(operator: Operator) -> None:
    assert await operator.deliver() == (202, "")
    assert operator.hints == ["wine"]
    assert operator.results == {"accepted": 1}


@pytest.mark.parametrize(
    "headers",
    [
        {},
        signed() | {SIGNATURE: "v1,AAAA"},
        signed() | {SIGNATURE: "v1,\N{LATIN SMALL LETTER E WITH ACUTE}"},
        signed(key=OTHER_KEY),
        signed(body=b"another body"),
        signed() | {DELIVERY_ID: "d-2"},
        signed() | {TIMESTAMP: f"{NOW + 1:.0f}"},
        signed() | {TIMESTAMP: "yesterday"},
        signed(at=NOW - MAX_SKEW - 1),
        signed(at=NOW + MAX_SKEW + 1),
        signed(delivery="x" * 129),
    ],
)
async def test_what_is_not_signed_and_recent_is_refused_in_a_sentence(
    operator: Operator, headers: dict[str, str]
) -> None:
    status, text = await operator.deliver(headers)

    assert status == 401
    assert text.endswith(".\n") and text.count("\n") == 1
    assert operator.hints == []
    assert operator.results == {"refused": 1}


async def test_a_delivery_that_is_sent_again_has_no_effect(operator: Operator) -> None:
    await operator.deliver()

    assert (await operator.deliver())[0] == 200
    assert operator.hints == ["wine"]
    assert operator.results == {"accepted": 1, "repeated": 1}


async def test_both_keys_are_valid_while_one_takes_the_others_place(
    operator: Operator, keys: Path
) -> None:
    (keys / "next").write_bytes(OTHER_KEY)

    assert (await operator.deliver())[0] == 202
    assert (await operator.deliver(signed(key=OTHER_KEY, delivery="d-2")))[0] == 202

    (keys / "key").unlink()
    assert (await operator.deliver(signed(delivery="d-3")))[0] == 401


@pytest.mark.parametrize("key", [None, b"too short", b""])
async def test_without_a_usable_key_nothing_is_accepted(
    operator: Operator, keys: Path, key: bytes | None
) -> None:
    (keys / "key").unlink()
    if key is not None:
        (keys / "key").write_bytes(key)

    status, text = await operator.deliver(signed(key=key or KEY))

    assert (status, operator.hints) == (503, [])
    assert "webhooks.secret" in text


async def test_no_key_comes_out(
    operator: Operator, keys: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Of keys that can be used and of those that can't, whatever is sent, nothing is repeated."""
    caplog.set_level(logging.DEBUG)
    marked = b"marker-of-a-key-that-signs"
    texts = []
    for key in (marked, b"marker", b"marker\xff-of-a-key-that-signs", b"marker " * 10_000):
        (keys / "key").write_bytes(key)
        for headers in (
            signed(key=marked),
            signed(key=KEY),
            {**signed(key=key), SIGNATURE: key.decode("latin-1").strip()[:100]},
            {},
        ):
            texts.append((await operator.deliver(headers))[1])
    answered, logged = "".join(texts), caplog.text
    assert answered
    assert "marker" not in answered
    assert "marker" not in logged


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"not JSON",
        b"[" * 100_000,
        b"[]",
        b'{"data": null}',
        b'{"data": {"name": 3}}',
        b'{"data": {"name": ""}}',
        json.dumps({"data": {"name": "x" * 257}}).encode(),
    ],
)
async def test_a_signed_body_that_names_no_model(operator: Operator, body: bytes) -> None:
    assert (await operator.deliver(body=body))[0] == 400
    assert operator.hints == []


async def test_a_body_that_is_too_large(operator: Operator) -> None:
    body = b" " * (MAX_BODY_BYTES + 1)

    assert await operator.deliver(body=body) == (413, "The body has more than 256 KiB.\n")


async def test_other_methods_are_not_served(operator: Operator) -> None:
    assert (await operator.deliver(method="GET"))[0] == 405


async def test_a_standby_passes_deliveries_on_to_the_leader(
    stack: AsyncExitStack, keys: Path, operator: Operator
) -> None:
    standby = await start(stack, keys)
    standby.leads, standby.leader = False, f"127.0.0.1:{operator.port}"

    assert (await standby.deliver())[0] == 202
    assert (standby.hints, operator.hints) == ([], ["wine"])
    assert standby.results == {"forwarded": 1}
    assert (await standby.deliver(signed(key=OTHER_KEY)))[0] == 401
    assert operator.results == {"accepted": 1}


async def test_while_nobody_leads_mlflow_is_to_try_again(
    stack: AsyncExitStack, keys: Path, operator: Operator
) -> None:
    operator.leads = False
    assert (await operator.deliver())[0] == 503
    standby = await start(stack, keys)
    standby.leads, standby.leader = False, f"127.0.0.1:{operator.port}"

    assert (await standby.deliver())[0] == 503, "passed on once, and no further"

    standby.leader = "127.0.0.1:1"
    assert (await standby.deliver())[0] == 503


async def test_connections_are_bounded_in_number_and_in_time(
    operator: Operator, stack: AsyncExitStack, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(http, "MAX_CONNECTIONS", 2)
    monkeypatch.setattr(http, "CONNECTION_TIMEOUT", 0.2)
    idle = [await connect(operator, stack) for _ in range(2)]

    one_too_many = await connect(operator, stack)

    async with asyncio.timeout(10):
        for reader in (one_too_many, *idle):
            assert await last_word(reader) == b""
        assert (await operator.deliver())[0] == 202


async def connect(operator: Operator, stack: AsyncExitStack) -> asyncio.StreamReader:
    reader, writer = await asyncio.open_connection("127.0.0.1", operator.port)
    stack.callback(writer.close)
    # The request begins, and never ends.
    writer.write(b"POST /webhooks/mlflow HTTP/1.1\r\nHost:")
    await writer.drain()
    return reader


async def last_word(reader: asyncio.StreamReader) -> bytes:
    """What comes before the connection ends."""
    try:
        return await reader.read()
    except ConnectionResetError:  # what it has sent was not read before
        return b""


def test_what_is_remembered_is_bounded() -> None:
    replays = Replays()
    stamps = [Stamp(f"d-{number}", int(NOW), b"") for number in range(2 * MAX_REMEMBERED)]

    assert all(replays.is_new(stamp, NOW) for stamp in stamps)
    assert not replays.is_new(stamps[-1], NOW)
    assert len(replays._expiries) <= MAX_REMEMBERED


@given(body=st.binary(max_size=200), changed=st.integers(0, 199), key=st.binary(min_size=16))
def test_a_signature_is_for_one_body_and_one_key(body: bytes, changed: int, key: bytes) -> None:
    stamp = read_stamp(signed(body, key), NOW)
    verify(stamp, body, [OTHER_KEY, key])
    position = changed % (len(body) + 1)
    for other, keys in ((body[:position] + b"x" + body[position:], [key]), (body, [key + b"x"])):
        with pytest.raises(Refused):
            verify(stamp, other, keys)


@given(st.recursive(st.none() | st.text() | st.integers(), lambda inner: st.lists(inner)))
def test_any_body_names_a_model_or_is_refused(content: Any) -> None:
    with pytest.raises(Refused):
        read_model(json.dumps(content).encode())
