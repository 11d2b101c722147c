"""The endpoint that MLflow delivers webhooks to. Anybody who reaches the port may send to it."""

from __future__ import annotations

import logging
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Protocol

import aiohttp
from aiohttp import web

from mlflow_model_operator.http import listen
from mlflow_model_operator.settings import WebhookSettings
from mlflow_model_operator.webhooks.delivery import (
    HEADERS,
    MAX_BODY_BYTES,
    Refused,
    Replays,
    Stamp,
    read_model,
    read_stamp,
    verify,
)
from mlflow_model_operator.webhooks.keys import read_keys

PATH = "/webhooks/mlflow"
FORWARD_TIMEOUT = 5.0  # seconds
# A delivery that a standby has passed on is passed on by nobody else.
FORWARDED = "X-MLflow-Model-Operator-Forwarded"
REFUSAL_LOG_INTERVAL = 60.0

log = logging.getLogger(__name__)


class DeliveryObserver(Protocol):
    """Gets each delivery, for metrics."""

    def webhook_delivered(self, result: str) -> None:
        """`result` is accepted, repeated, forwarded or refused."""


@dataclass
class Receiver:
    """What an operator does with deliveries."""

    settings: WebhookSettings
    hint: Callable[[str], None]  # gets the name of each registered model to poll now
    is_leading: Callable[[], bool]
    leader_address: Callable[[], str | None]  # of the webhooks, where another replica leads
    observer: DeliveryObserver
    clock: Callable[[], float] = time.time
    _replays: Replays = field(default_factory=Replays)
    _logged_at: float = float("-inf")

    async def receive(self, request: web.Request) -> web.Response:
        """Answers one request."""
        try:
            response = await self._receive(request)
        except Refused as refused:
            self._log(refused, request.remote)
            self.observer.webhook_delivered("refused")
            response = web.Response(status=refused.status, text=f"{refused}.\n")
        response.force_close()
        return response

    async def _receive(self, request: web.Request) -> web.Response:
        keys = read_keys(self.settings.keys)
        if not keys:
            raise Refused(
                503,
                "The operator has no key of at least 16 characters to check signatures with: put "
                "one into the Secret that the chart value webhooks.secret names",
            )
        stamp = read_stamp(request.headers, self.clock())
        body = await _read_body(request)
        verify(stamp, body, keys)
        if not self.is_leading():
            return await self._forward(request, body)
        return self._accept(stamp, body)

    def _accept(self, stamp: Stamp, body: bytes) -> web.Response:
        name = read_model(body)
        if not self._replays.is_new(stamp, self.clock()):
            self.observer.webhook_delivered("repeated")
            return web.Response(status=200, text="This delivery was received before.\n")
        self.hint(name)
        self.observer.webhook_delivered("accepted")
        return web.Response(status=202)

    async def _forward(self, request: web.Request, body: bytes) -> web.Response:
        """Passes a delivery on to the leader, which checks it again."""
        address = self.leader_address()
        if address is None or FORWARDED in request.headers:
            raise Refused(503, "No replica of the operator leads yet: deliver it again")
        headers = {name: request.headers[name] for name in HEADERS} | {FORWARDED: "1"}
        timeout = aiohttp.ClientTimeout(total=FORWARD_TIMEOUT)
        try:
            async with (
                aiohttp.ClientSession(timeout=timeout) as session,
                session.post(
                    f"http://{address}{PATH}", data=body, headers=headers, allow_redirects=False
                ) as response,
            ):
                status = response.status
        except (aiohttp.ClientError, TimeoutError, OSError):
            raise Refused(503, "The leading replica is not reachable: deliver it again") from None
        self.observer.webhook_delivered("forwarded")
        return web.Response(status=status)

    def _log(self, refused: Refused, client: str | None) -> None:
        """Anybody may have deliveries refused, so not each is logged."""
        now = time.monotonic()
        if now - self._logged_at >= REFUSAL_LOG_INTERVAL:
            self._logged_at = now
            log.warning("refused a webhook from %s: %s", client, refused)


@asynccontextmanager
async def serve(receiver: Receiver) -> AsyncIterator[int]:
    """Serves on all addresses while the context lasts; yields the port, which 0 leaves open."""
    app = web.Application(client_max_size=MAX_BODY_BYTES)
    app.router.add_post(PATH, receiver.receive)
    async with listen(app, receiver.settings.port) as port:
        yield port


async def _read_body(request: web.Request) -> bytes:
    try:
        return await request.read()
    except web.HTTPRequestEntityTooLarge:
        raise Refused(413, f"The body has more than {MAX_BODY_BYTES >> 10} KiB") from None
