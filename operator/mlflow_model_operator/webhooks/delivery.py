"""One delivery of a webhook: whether it is signed, recent and new, and what it is about. Pure.

The format is MLflow's (mlflow/webhooks/delivery.py), which follows Standard Webhooks: the
signature is "v1," and the base64 of HMAC-SHA256 over "<delivery id>.<timestamp>.<body>".
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass

SIGNATURE = "X-MLflow-Signature"
TIMESTAMP = "X-MLflow-Timestamp"
DELIVERY_ID = "X-MLflow-Delivery-Id"
HEADERS = (SIGNATURE, TIMESTAMP, DELIVERY_ID)

# A delivery with tags and a description takes a few KiB.
MAX_BODY_BYTES = 262_144
MAX_ID_LENGTH, MAX_NAME_LENGTH = 128, 256  # characters
# How far a delivery's timestamp may be from our clock, as in Standard Webhooks. MLflow tries a
# delivery again with the first timestamp.
MAX_SKEW = 300.0  # seconds
# Deliveries that are remembered, so that a copy has no effect. One that is forgotten has the effect
# of a hint, whose rate is bounded.
MAX_REMEMBERED = 10_000

_TIMESTAMP = re.compile(r"[0-9]{1,12}")
_ID = re.compile(rf"[\x21-\x7e]{{1,{MAX_ID_LENGTH}}}")


class Refused(Exception):
    """A delivery that has no effect: an HTTP status, and one sentence that says why."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


@dataclass(frozen=True)
class Stamp:
    """The headers of a delivery that its signature covers, and the signature."""

    id: str
    timestamp: int  # epoch seconds
    signature: bytes


def read_stamp(headers: Mapping[str, str], now: float) -> Stamp:
    """The headers of a recent delivery; raises Refused. Nothing of the body is needed for it."""
    missing = [name for name in HEADERS if not headers.get(name)]
    if missing:
        raise Refused(
            401, f"Header {missing[0]} is missing: create the webhook with a secret in MLflow"
        )
    signature, timestamp, delivery_id = (headers[name] for name in HEADERS)
    if not _TIMESTAMP.fullmatch(timestamp) or not _ID.fullmatch(delivery_id):
        raise Refused(401, f"Header {TIMESTAMP} or {DELIVERY_ID} is not as MLflow writes it")
    if abs(now - int(timestamp)) > MAX_SKEW:
        raise Refused(
            401,
            f"The delivery's timestamp is more than {MAX_SKEW:g} s from the operator's clock: "
            "synchronize the clocks of the nodes",
        )
    return Stamp(delivery_id, int(timestamp), signature.encode(errors="replace"))


def verify(stamp: Stamp, body: bytes, keys: Collection[bytes]) -> None:
    """Raises Refused unless one of the keys has signed the delivery; all are tried."""
    signed = b"%s.%d.%s" % (stamp.id.encode(), stamp.timestamp, body)
    matches = [hmac.compare_digest(_signature(key, signed), stamp.signature) for key in keys]
    if not any(matches):
        raise Refused(
            401,
            "The signature is of none of the operator's keys: use the same secret for the webhook "
            "and in the Secret that the chart value webhooks.secret names",
        )


def read_model(body: bytes) -> str:
    """The registered model that a delivery is about; raises Refused."""
    try:
        name = json.loads(body)["data"]["name"]
    except (ValueError, TypeError, KeyError, RecursionError):
        name = None
    if not isinstance(name, str) or not 0 < len(name) <= MAX_NAME_LENGTH:
        raise Refused(400, "The body names no registered model in data.name")
    return name


def _signature(key: bytes, signed: bytes) -> bytes:
    return b"v1," + base64.b64encode(hmac.digest(key, signed, hashlib.sha256))


class Replays:
    """Remembers the deliveries of the last minutes, each until its timestamp is too old."""

    def __init__(self) -> None:
        self._expiries: dict[str, float] = {}

    def is_new(self, stamp: Stamp, now: float) -> bool:
        """Whether this is the first time; it is remembered from now on."""
        if stamp.id in self._expiries:
            return False
        if len(self._expiries) >= MAX_REMEMBERED:
            self._prune(now)
        self._expiries[stamp.id] = stamp.timestamp + MAX_SKEW
        return True

    def _prune(self, now: float) -> None:
        """Forgets what is expired, or else the older half."""
        remembered = {name: end for name, end in self._expiries.items() if end > now}
        if len(remembered) >= MAX_REMEMBERED:
            remembered = dict(list(remembered.items())[MAX_REMEMBERED // 2 :])
        self._expiries = remembered
