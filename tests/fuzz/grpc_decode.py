"""Fuzzes the way from a message of gRPC to what a model takes, guided by coverage.

Not a test: `python -m tests.fuzz.grpc_decode -max_total_time=120` (libFuzzer's options).
It ends with a crash and the input that made it, if anything but BadRequest comes out of a message
that protobuf can read.
"""

from __future__ import annotations

import atheris

from tests.fuzz.corpus import fuzz

with atheris.instrument_imports(include=["mlflow_model_server"]):
    from mlflow_model_server.codecs.metadata import Field, Spec
    from mlflow_model_server.codecs.errors import BadRequest
    from mlflow_model_server.grpc import convert
    from mlflow_model_server.grpc.messages import message

from google.protobuf.message import DecodeError

REQUEST = message("ModelInferRequest")
SPECS = (
    Spec(),
    Spec((Field("a", "FP64", (-1, 1), True, "double"), Field("b", "BYTES", (-1,), True, "string"))),
    Spec((Field("input-1", "FP32", (-1, 2), False, "float32"),)),
)


def seeds() -> list[bytes]:
    """Messages as clients send them: with numbers, and with bytes."""
    typed = REQUEST(model_name="m", id="7")
    typed.inputs.add(name="a", datatype="FP64", shape=[2]).contents.fp64_contents.extend([1, 2])
    typed.inputs.add(name="b", datatype="BYTES", shape=[2]).contents.bytes_contents.extend(
        [b"x", b""]
    )
    raw = REQUEST(model_name="m", raw_input_contents=[b"\x00" * 16])
    raw.inputs.add(name="input-1", datatype="FP32", shape=[2, 2])
    raw.parameters.add(key="content_type").value.string_param = "np"
    return [typed.SerializeToString(), raw.SerializeToString()]


def read(data: bytes) -> None:
    """One input: a byte that chooses the signature, then the message."""
    if not data:
        return
    try:
        request = REQUEST.FromString(data[1:])
    except DecodeError:
        return
    try:
        convert.inference_of(request, SPECS[data[0] % len(SPECS)])
    except BadRequest:
        return


if __name__ == "__main__":
    fuzz(read, seeds(), len(SPECS))
