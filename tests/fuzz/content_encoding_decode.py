"""Fuzzes how compressed bodies are decoded, guided by coverage.

`python -m tests.fuzz.content_encoding_decode -max_total_time=120` (libFuzzer's options). It ends
with a crash and the input that caused it, if anything but a refusal is raised, more is decoded than
a request may have, or something else than the standard library decodes.
"""

from __future__ import annotations

import gzip
import zlib

import atheris

from tests.fuzz.corpus import fuzz

with atheris.instrument_imports(include=["mlflow_model_server"]):
    from mlflow_model_server.http import content_encoding
    from mlflow_model_server.inference.limits import BytesBudget
    from mlflow_model_server.responses import Rejected

MAX_BYTES = 100_000
BODY = b'{"inputs":[1,2,3]}'


def seeds() -> list[bytes]:
    """A body in each encoding, and one that grows beyond what is allowed."""
    raw = zlib.compressobj(wbits=-zlib.MAX_WBITS)
    return [
        gzip.compress(BODY, mtime=0),
        zlib.compress(BODY),
        raw.compress(BODY) + raw.flush(),
        gzip.compress(b" " * (MAX_BYTES + 1), mtime=0),
        gzip.compress(BODY, mtime=0) + b"more",
    ]


def decode(raw: bytes) -> None:
    """One input: a byte that nothing depends on, then the body."""
    body = raw[1:]
    budget = BytesBudget(MAX_BYTES)
    reservation = budget.reservation(MAX_BYTES)
    decoding = content_encoding.decode(body, reservation)
    try:
        while True:
            decoding.send(None)
    except StopIteration as ended:
        decoded = ended.value
    except Rejected as refused:
        assert refused.error.status in (400, 413, 503)
        return
    assert len(decoded) <= max(reservation.size, len(body)) <= max(MAX_BYTES, len(body))
    assert decoded == _by_standard_library(body)


def _by_standard_library(body: bytes) -> bytes:
    if body[:2] == b"\x1f\x8b":
        return gzip.decompress(body)
    try:
        return zlib.decompress(body)
    except zlib.error:
        return zlib.decompress(body, wbits=-zlib.MAX_WBITS)


if __name__ == "__main__":
    fuzz(decode, seeds())
