"""What a call says of its client, and how it ends with an error."""

from __future__ import annotations

from typing import NoReturn

import grpc

from mlflow_model_server.headers import Headers
from mlflow_model_server.responses import ErrorResponse

# The status that stands for each HTTP status.
_CODES = {
    400: grpc.StatusCode.INVALID_ARGUMENT,
    401: grpc.StatusCode.UNAUTHENTICATED,
    404: grpc.StatusCode.NOT_FOUND,
    413: grpc.StatusCode.RESOURCE_EXHAUSTED,
    429: grpc.StatusCode.RESOURCE_EXHAUSTED,
    503: grpc.StatusCode.UNAVAILABLE,
    504: grpc.StatusCode.DEADLINE_EXCEEDED,
}


def headers(context: grpc.aio.ServicerContext) -> Headers:
    """The call's metadata as ASGI has headers; gRPC keeps their names in lower case."""
    return [
        (name.encode(), value.encode() if isinstance(value, str) else value)
        for name, value in context.invocation_metadata() or ()
    ]


def address(context: grpc.aio.ServicerContext) -> str:
    """The client's: of "ipv4:10.0.0.7:5123" and "ipv6:%5B::1%5D:5123" the middle."""
    return str(context.peer()).partition(":")[2].rpartition(":")[0]


async def abort(context: grpc.aio.ServicerContext, error: ErrorResponse) -> NoReturn:
    """Ends the call."""
    code = _CODES.get(error.status, grpc.StatusCode.INTERNAL)
    trailing = tuple((name.decode(), value.decode()) for name, value in error.headers)
    await context.abort(code, error.message, trailing)
    raise AssertionError("unreachable")
