"""Asks over gRPC, by Triton's published client."""

from __future__ import annotations

import numpy as np
from tritonclient import grpc as triton
from tritonclient.utils import InferenceServerException

from dev.traffic import REQUEST_SECONDS, gateway_url
from e2e.models import Facts


def predict(hostname: str, model: str, facts: Facts) -> list[int] | InferenceServerException:
    """What a model behind the shared gateway says of the first wine, or why it says nothing."""
    inputs = []
    for name, value in zip(facts.wine_columns, facts.wine_rows[0], strict=True):
        one = triton.InferInput(name, [1], "FP64")
        one.set_data_from_numpy(np.array([value]))
        inputs.append(one)
    address = gateway_url().partition("://")[2]
    authority = [("grpc.default_authority", hostname)]
    with triton.InferenceServerClient(address, channel_args=authority) as client:
        try:
            answer = client.infer(model, inputs, client_timeout=REQUEST_SECONDS)
        except InferenceServerException as refused:
            return refused
    predictions: list[int] = answer.as_numpy(answer.get_response().outputs[0].name).tolist()
    return predictions
