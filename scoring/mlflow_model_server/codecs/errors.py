"""Why a body can't be read, or a response can't be written."""

from __future__ import annotations

from mlflow_model_server.responses import ErrorResponse, Rejected


class BadRequest(ValueError):
    """A body that is not of the protocol; the message says what to write instead."""


class TooLarge(Rejected):
    """A body that needs more memory than a request may use; the message says for what."""

    def __init__(self, message: str) -> None:
        super().__init__(ErrorResponse(413, "BAD_REQUEST", message))


class Unreadable(Rejected):
    """A body of which can't be said how much memory it needs."""

    def __init__(self, message: str) -> None:
        super().__init__(ErrorResponse(400, "BAD_REQUEST", message))


class UnsupportedOutput(Rejected):
    """Predictions that the protocol can't say; the message says which."""

    def __init__(self, message: str) -> None:
        text = f"the predictions can't be sent: {message}"
        super().__init__(ErrorResponse(500, "INTERNAL_ERROR", text))
