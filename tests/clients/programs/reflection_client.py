"""A client that has no files of the protocol: reflection_client.py ADDRESS, a table on stdin.

It asks by gRPC's own client of server reflection, and makes requests of JSON, as grpcurl does.
"""

from __future__ import annotations

import json
import sys
from typing import Any

import grpc
from google.protobuf import descriptor_pool, json_format, message_factory
from grpc_reflection.v1alpha.proto_reflection_descriptor_database import (
    ProtoReflectionDescriptorDatabase,
)

INFERENCE = "inference.GRPCInferenceService"
channel = grpc.insecure_channel(sys.argv[1])
database = ProtoReflectionDescriptorDatabase(channel)
pool = descriptor_pool.DescriptorPool(database)
rows = json.load(sys.stdin)


def call(service: str, method: str, request: dict[str, Any]) -> dict[str, Any]:
    described = pool.FindServiceByName(service).FindMethodByName(method)
    takes, gives = map(
        message_factory.GetMessageClass, (described.input_type, described.output_type)
    )
    send = channel.unary_unary(f"/{service}/{method}", takes.SerializeToString, gives.FromString)
    response = send(json_format.ParseDict(request, takes()), timeout=60)
    answer: dict[str, Any] = json_format.MessageToDict(response)
    return answer


def unknown() -> str:
    try:
        pool.FindServiceByName("inference.Else")
    except KeyError:
        return "not known"
    return "known"


tensor = {
    "name": "rows",
    "datatype": "FP64",
    "shape": [len(rows), len(rows[0])],
    "contents": {"fp64Contents": [number for row in rows for number in row]},
}
parameters = {"content_type": {"stringParam": "np"}}
inference = {"modelName": "wine", "parameters": parameters, "inputs": [tensor]}
print(
    json.dumps(
        {
            "services": sorted(database.get_services()),
            "methods": [each.name for each in pool.FindServiceByName(INFERENCE).methods],
            "metadata": call(INFERENCE, "ModelMetadata", {"name": "wine"}),
            "health": call("grpc.health.v1.Health", "Check", {"service": INFERENCE}),
            "inference": call(INFERENCE, "ModelInfer", inference),
            "unknown": unknown(),
        }
    )
)
