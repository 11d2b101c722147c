"""Fuzzes the decoder of the Open Inference Protocol, guided by coverage.

Not a test: `python -m tests.fuzz.openinference_decode -max_total_time=120` (libFuzzer's options).
It ends with a crash and the input that made it, if anything but BadRequest comes out.
"""

from __future__ import annotations

import atheris

from tests.fuzz.corpus import fuzz

with atheris.instrument_imports(include=["mlflow_model_server"]):
    from mlflow_model_server.codecs import openinference as codec
    from mlflow_model_server.codecs.metadata import Field, Spec
    from mlflow_model_server.codecs.errors import BadRequest

SPECS = (
    Spec(),
    Spec(
        (
            Field("a", "FP64", (-1, 1), True, "double"),
            Field("b", "BYTES", (-1, 1), True, "string"),
        )
    ),
    Spec((Field("a", "FP64", (-1, 1), True, "double"),)),
    Spec((Field("input-1", "FP32", (-1, 2, 2), False, "float32"),)),
)
# What random bytes would take long to find.
SEEDS = (
    b'{"inputs":[{"name":"a","shape":[2],"datatype":"FP64","data":[1,null]}]}',
    b'{"inputs":[{"name":"b","shape":[1,1],"datatype":"BYTES","data":[["x"]],'
    b'"parameters":{"content_type":"base64"}}],"outputs":[{"name":"y"}],"id":"1"}',
    b'{"inputs":[{"name":"a","shape":[1],"datatype":"INT64","parameters":{"binary_data_size":8}}],'
    b'"parameters":{"content_type":"pd","binary_data_output":true}}12345678',
)


def decode_and_encode(raw: bytes) -> None:
    """One input: a byte that chooses the model and whether there is a tail, then the body."""
    if not raw:
        return
    choice, body = raw[0], raw[1:]
    headers = {}
    if choice & 4:
        headers[codec.HEADER_LENGTH] = str(body.rfind(b"}") + 1).encode()
    try:
        asked = codec.decode(body, headers, SPECS[choice & 3])
        codec.encode(asked.data, asked.requested, "m", None, SPECS[choice & 3])
    except BadRequest:
        return


if __name__ == "__main__":
    fuzz(decode_and_encode, SEEDS, choices=8)
