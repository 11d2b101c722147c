"""gRPC's health checking protocol, which probes and load balancers use.

See https://github.com/grpc/grpc/blob/master/doc/health-checking.md. Its two messages have a field
each, so they are read and written here, without protobuf: probes are many.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import TYPE_CHECKING

import grpc

from mlflow_model_server.grpc.descriptors import ProtoFile
from mlflow_model_server.grpc.message_reader import MessageReader
from mlflow_model_server.grpc.messages import SERVICE as INFERENCE_SERVICE
from mlflow_model_server.inference.request import ClientGone
from mlflow_model_server.responses import Rejected

if TYPE_CHECKING:
    from mlflow_model_server.inference.service import InferenceService

SERVICE = "grpc.health.v1.Health"
FILE = ProtoFile(
    "grpc/health/v1/health.proto",
    SERVICE,
    {
        "HealthCheckRequest": "string service = 1",
        "HealthCheckResponse": "HealthCheckResponse.ServingStatus status = 1",
    },
    {
        "Check": ("HealthCheckRequest", "HealthCheckResponse"),
        "Watch": ("HealthCheckRequest", "stream HealthCheckResponse"),
    },
    {
        "HealthCheckResponse.ServingStatus": (
            "UNKNOWN",
            "SERVING",
            "NOT_SERVING",
            "SERVICE_UNKNOWN",
        )
    },
)
# HealthCheckResponse: the field `status`, an enumeration.
SERVING, NOT_SERVING, SERVICE_UNKNOWN = b"\x08\x01", b"\x08\x02", b"\x08\x03"
_SECONDS_BETWEEN = 1.0
# Each takes the place of a call for as long as its client likes.
_MAX_WATCHES = 32


def handlers(service: InferenceService, reader: MessageReader) -> dict[str, grpc.RpcMethodHandler]:
    """The handlers of the service's methods, by name. They are open: no keys, no rate limits."""
    health = _Health(service, reader)
    return {
        "Check": grpc.stream_unary_rpc_method_handler(health.check),
        "Watch": grpc.stream_stream_rpc_method_handler(health.watch),
    }


class _Health:
    def __init__(self, service: InferenceService, reader: MessageReader) -> None:
        self._service = service
        self._reader = reader
        self._watches = 0

    async def check(self, _messages: object, context: grpc.aio.ServicerContext) -> bytes:
        """The status of a service, or of the whole server."""
        status = self._status(await self._service_name(context))
        if status is SERVICE_UNKNOWN:
            await context.abort(grpc.StatusCode.NOT_FOUND, "there is no such service")
        return status

    async def watch(
        self, _messages: object, context: grpc.aio.ServicerContext
    ) -> AsyncIterator[bytes]:
        """The same, and each other status that follows."""
        if self._watches >= _MAX_WATCHES:
            await context.abort(grpc.StatusCode.RESOURCE_EXHAUSTED, "too many clients are watching")
        self._watches += 1
        try:
            name, last = await self._service_name(context), b""
            while True:
                status = self._status(name)
                if status != last:
                    yield status
                last = status
                await asyncio.sleep(_SECONDS_BETWEEN)
        finally:
            self._watches -= 1

    async def _service_name(self, context: grpc.aio.ServicerContext) -> str | None:
        try:
            return _name_in(await self._reader.read(context))
        except (ClientGone, Rejected):
            await context.abort(grpc.StatusCode.INVALID_ARGUMENT, "no request has arrived")
            raise AssertionError("unreachable") from None

    def _status(self, name: str | None) -> bytes:
        if name not in ("", INFERENCE_SERVICE):
            return SERVICE_UNKNOWN
        return SERVING if self._service.is_ready else NOT_SERVING


def _name_in(request: bytes) -> str | None:
    """HealthCheckRequest: the field 1, `service`, a string. None: it is something else."""
    if not request:
        return ""
    name = request[2:]
    if len(request) < 2 or request[0] != 0x0A or len(name) != request[1] or len(name) > 127:
        return None
    return name.decode("utf-8", "replace")
