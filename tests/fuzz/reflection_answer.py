"""Fuzzes gRPC's reflection, guided by coverage.

`python -m tests.fuzz.reflection_answer -max_total_time=120` (libFuzzer's options). It ends with a
crash and the input that caused it, if anything is raised for a message that protobuf can read, or
the answer is no message or longer than the files that it describes.
"""

from __future__ import annotations

from typing import Any

import atheris
from google.protobuf.message import DecodeError

from tests.fuzz.corpus import fuzz

with atheris.instrument_imports(include=["mlflow_model_server"]):
    from mlflow_model_server.grpc import health, messages, reflection

DESCRIBED = (messages.FILE, health.FILE, *reflection.FILES)
MAX_ANSWER = 1024 + max(len(file.serialized()) for file in DESCRIBED)


def seeds() -> list[bytes]:
    """A request of each kind."""
    request = reflection.FILES[0].message("ServerReflectionRequest")
    asked: list[Any] = [
        request(list_services="*"),
        request(file_by_filename=messages.FILE.name),
        request(file_containing_symbol=messages.SERVICE, host="x"),
        request(all_extension_numbers_of_type="inference.ModelInferRequest"),
    ]
    containing = request()
    containing.file_containing_extension.extension_number = 7
    return [each.SerializeToString() for each in (*asked, containing)]


def answer(raw: bytes) -> None:
    """One input: a byte that chooses the version, then the message."""
    if not raw:
        return
    file = reflection.FILES[raw[0] % len(reflection.FILES)]
    try:
        request = file.message("ServerReflectionRequest").FromString(raw[1:])
    except DecodeError:
        return
    answered = reflection.answer(file, DESCRIBED, request)
    assert len(answered) < MAX_ANSWER + 3 * len(raw)
    response = file.message("ServerReflectionResponse").FromString(answered)
    assert response.original_request == request


if __name__ == "__main__":
    fuzz(answer, seeds(), len(reflection.FILES))
