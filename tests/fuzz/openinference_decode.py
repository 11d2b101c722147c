"""Fuzzes the decoder of the Open Inference Protocol over HTTP, guided by coverage.

`python -m tests.fuzz.openinference_decode -max_total_time=120` (libFuzzer's options). It ends with
a crash and the input that caused it, if anything but BadRequest or TooLarge is raised.
"""

from __future__ import annotations

import atheris

from tests.fuzz.corpus import fuzz

with atheris.instrument_imports(include=["mlflow_model_server"]):
    from mlflow_model_server.codecs import openinference as codec
    from mlflow_model_server.codecs.errors import BadRequest, TooLarge, UnsupportedOutput
    from mlflow_model_server.codecs.metadata import Field, Spec

SPECS = (
    Spec(),
    Spec(
        (
            Field("a", "FP64", (-1, 1), True, "double"),
            Field("b", "BYTES", (-1, 1), True, "string"),
        )
    ),
    Spec((Field("a", "BYTES", (-1, 1), True, "datetime"),)),
    Spec((Field("input-1", "FP32", (-1, 2, 2), False, "float32"),)),
    Spec((Field("a", "BYTES", (-1, 1), True, "binary"),)),
    Spec((Field("a", "BYTES", (-1, 1), True, "Array(long)"),), takes_list=True),
    Spec((Field("a", "BYTES", (-1,), False, "<U0"),)),
    Spec((Field("a", "BYTES", (-1,), False, "datetime64[s]"),)),
)
BINARY = len(SPECS)  # whether the body has tensors behind the JSON
# Inputs that random bytes would take long to reach.
SEEDS = (
    b'{"inputs":[{"name":"a","shape":[2],"datatype":"FP64","data":[1,null]}]}',
    b'{"inputs":[{"name":"b","shape":[1,1],"datatype":"BYTES","data":[["x"]],'
    b'"parameters":{"content_type":"base64"}}],"outputs":[{"name":"y"}],"id":"1"}',
    b'{"inputs":[{"name":"a","shape":[1],"datatype":"INT64","parameters":{"binary_data_size":8}}],'
    b'"parameters":{"content_type":"pd","binary_data_output":true}}12345678',
    b'{"inputs":[{"name":"a","shape":[1],"datatype":"BYTES","data":["2026-01-31T12:00:00"],'
    b'"parameters":{"content_type":"datetime"}}]}',
    b'{"inputs":[{"name":"a","shape":[1],"datatype":"BYTES","data":["[1]"],'
    b'"parameters":{"content_type":"pd_json"}}]}',
)


def decode_and_encode(raw: bytes) -> None:
    """One input: a byte that chooses the model and whether there is a tail, then the body."""
    if not raw:
        return
    choice, body = raw[0], raw[1:]
    headers = {}
    if choice & BINARY:
        headers[codec.HEADER_LENGTH] = str(body.rfind(b"}") + 1).encode()
    spec = SPECS[choice % BINARY]
    try:
        inference = codec.decode(body, headers, spec)
        codec.encode(inference.data, inference.requested, "m", None, spec)
    except (BadRequest, TooLarge, UnsupportedOutput):
        return


if __name__ == "__main__":
    fuzz(decode_and_encode, SEEDS, choices=2 * BINARY)
