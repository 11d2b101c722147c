"""Fuzzes how messages of gRPC become what a model takes, guided by coverage.

`python -m tests.fuzz.grpc_decode -max_total_time=120` (libFuzzer's options). It ends with a crash
and the input that caused it, if anything but BadRequest or TooLarge is raised for a message that
protobuf can read.
"""

from __future__ import annotations

import atheris
from google.protobuf.message import DecodeError

from tests.fuzz.corpus import fuzz

with atheris.instrument_imports(include=["mlflow_model_server"]):
    from mlflow_model_server.codecs import openinference as codec
    from mlflow_model_server.codecs.errors import BadRequest, TooLarge, UnsupportedOutput
    from mlflow_model_server.codecs.metadata import Field, Spec
    from mlflow_model_server.grpc import convert
    from mlflow_model_server.grpc.messages import message

REQUEST = message("ModelInferRequest")
SPECS = (
    Spec(),
    Spec((Field("a", "FP64", (-1, 1), True, "double"), Field("b", "BYTES", (-1,), True, "string"))),
    Spec((Field("input-1", "FP32", (-1, 2), False, "float32"),)),
    Spec((Field("b", "BYTES", (-1, 1), True, "binary"),)),
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
    raw.parameters["content_type"].string_param = "np"
    return [typed.SerializeToString(), raw.SerializeToString()]


def decode_and_encode(raw: bytes) -> None:
    """One input: a byte that chooses the signature, then the message."""
    if not raw:
        return
    spec = SPECS[raw[0] % len(SPECS)]
    try:
        request = REQUEST.FromString(raw[1:])
    except DecodeError:
        return
    try:
        inference = convert.inference_of(request, spec)
        outputs = codec.outputs_of(inference.data, inference.requested, spec)
        convert.response_of(request, outputs, "m", None)
    except (BadRequest, TooLarge, UnsupportedOutput):
        return


if __name__ == "__main__":
    fuzz(decode_and_encode, seeds(), len(SPECS))
