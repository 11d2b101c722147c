"""Lets a request in, or says why not. Synchronous and quick: nothing is fetched or waited for."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from mlflow_model_server.auth.api_keys import ApiKeyFile
from mlflow_model_server.auth.errors import InvalidKeyFile, KeysUnavailable
from mlflow_model_server.auth.rate_limit import RateLimiter
from mlflow_model_server.headers import Headers, first
from mlflow_model_server.responses import ErrorResponse
from mlflow_model_server.settings import Settings, SettingsError


class Check(Protocol):
    """Finds out who asks."""

    def identify(self, token: str) -> str | None:
        """The name of who presents this token, or None if it is not good.

        Raises KeysUnavailable if that can't be said yet.
        """


class Limit(Protocol):
    """Says how often a caller may ask."""

    def acquire(self, caller: str) -> float:
        """0 if the caller may ask now, which then counts; else the seconds until it may."""


class Gate:
    """Checks one request after the other.

    `caller` is who the last one that was admitted is from, for the request log: the name of a key,
    a token's subject, or "".
    """

    def __init__(self, checks: Sequence[Check] = (), limit: Limit | None = None) -> None:
        self._checks = checks
        self._limit = limit
        self.caller = ""

    def admit(self, headers: Headers, client: str = "") -> ErrorResponse | None:
        """None if the request may go on.

        `headers` are ASGI's, with names in lower case; `client` is the address of who asks, which
        the rate limit goes by where there are no keys.
        """
        caller = client
        self.caller = ""
        if self._checks:
            token = _bearer(headers)
            if token is None:
                return _unauthorized("send the header Authorization: Bearer <key>")
            try:
                named = next(filter(None, (check.identify(token) for check in self._checks)), None)
            except KeysUnavailable:
                return _not_yet()
            if named is None:
                return _unauthorized(
                    "the key or token is not, or no longer, accepted", invalid=True
                )
            self.caller = caller = named
        if self._limit is not None and (seconds := self._limit.acquire(caller)) > 0:
            return _too_many(seconds)
        return None


def make_gate(settings: Settings) -> Gate | None:
    """The gate that the settings ask for; None: neither keys nor limits.

    Call it in the worker: it may start a thread, which a fork would not bring along. Raises
    SettingsError if the file of keys can't be used.
    """
    checks: list[Check] = []
    if settings.api_keys_file is not None:
        try:
            checks.append(ApiKeyFile(settings.api_keys_file))
        except InvalidKeyFile as error:
            raise SettingsError(str(error)) from error
    if settings.jwks_url is not None:
        # Imported here: it loads a cryptographic library, which nobody else needs.
        try:
            from mlflow_model_server.auth import jwt
        except ImportError as error:
            raise SettingsError(
                f"JWKS_URL is set, and {error.name} is not installed: use a scoring image that "
                "has pyjwt[crypto]"
            ) from error

        checks.append(jwt.start_token_verifier(settings))
    limit = None
    if settings.rate_limit is not None:
        burst = settings.rate_burst or 2 * settings.rate_limit
        limit = RateLimiter(settings.rate_limit, max(1.0, burst))
    return Gate(checks, limit) if checks or limit else None


def _bearer(headers: Headers) -> str | None:
    scheme, _, token = (first(headers, b"authorization") or b"").decode("latin-1").partition(" ")
    return token.strip() or None if scheme.lower() == "bearer" else None


def _unauthorized(message: str, invalid: bool = False) -> ErrorResponse:
    # RFC 6750, section 3: without a token no error is named.
    challenge = b'Bearer error="invalid_token"' if invalid else b"Bearer"
    return ErrorResponse(401, "UNAUTHENTICATED", message, challenge=challenge)


def _not_yet() -> ErrorResponse:
    return ErrorResponse(
        503,
        "TEMPORARILY_UNAVAILABLE",
        "the keys that tokens are checked against are not known yet: try again in 5 s",
        retry_after=5,
    )


def _too_many(seconds: float) -> ErrorResponse:
    whole = max(1, -int(-seconds // 1))
    return ErrorResponse(
        429,
        "REQUEST_LIMIT_EXCEEDED",
        f"too many requests: try again in {whole} s",
        retry_after=seconds,
    )
