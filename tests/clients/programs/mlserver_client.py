"""MLServer's codecs as its docs ask a server: mlserver_client.py SERVER, a table on stdin."""

from __future__ import annotations

import io
import json
import sys

import numpy as np
import pandas as pd
import requests
from mlserver.codecs import NumpyCodec, NumpyRequestCodec, PandasCodec, StringCodec
from mlserver.types import (
    InferenceRequest,
    InferenceResponse,
    RepositoryIndexRequest,
    RepositoryIndexResponse,
)

frame = pd.read_json(io.StringIO(sys.stdin.read()), orient="split").astype(float)
url = f"{sys.argv[1]}/v2/models/wine/infer"


def answer(request: InferenceRequest) -> InferenceResponse:
    response = requests.post(url, json=request.model_dump(exclude_none=True), timeout=240)
    assert response.ok, response.text
    return InferenceResponse.model_validate_json(response.content)


def index() -> list[list[str]]:
    body = RepositoryIndexRequest(ready=True).model_dump()
    response = requests.post(f"{sys.argv[1]}/v2/repository/index", json=body, timeout=240)
    models = RepositoryIndexResponse.model_validate_json(response.content)
    return [[model.name, model.version or "", str(model.state)] for model in models.root]


def labels(request: InferenceRequest) -> list[int]:
    return [int(label) for label in np.ravel(NumpyCodec.decode_output(answer(request).outputs[0]))]


wrong = InferenceRequest(
    inputs=[StringCodec.encode_input("alcohol", ["x" * 10_000], use_bytes=False)]
)
refused = requests.post(url, json=wrong.model_dump(exclude_none=True), timeout=240)
print(
    json.dumps(
        {
            "pandas": labels(PandasCodec.encode_request(frame, use_bytes=False)),
            "numpy": labels(NumpyRequestCodec.encode_request(frame.to_numpy())),
            "response": len(
                PandasCodec.decode_response(
                    answer(PandasCodec.encode_request(frame, use_bytes=False))
                )
            ),
            "index": index(),
            "wrong": [refused.status_code, refused.json()["error"]],
        }
    )
)
