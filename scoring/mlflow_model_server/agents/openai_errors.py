"""Errors as OpenAI's protocols write them. Pure."""

from __future__ import annotations

from typing import Any

from mlflow_model_server.responses import ErrorResponse

_TYPES = {
    401: "authentication_error",
    404: "not_found_error",
    429: "rate_limit_error",
}


def error_fields(error: ErrorResponse) -> dict[str, Any]:
    """What is in `error`."""
    default = "invalid_request_error" if error.status < 500 else "server_error"
    return {
        "message": error.message,
        "type": _TYPES.get(error.status, default),
        "param": None,
        "code": error.error_code,
    }
