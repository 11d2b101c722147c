"""Authentication and rate limits. Synchronous and fast: nothing is fetched or waited for."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from mlflow_model_server.auth.api_keys import ApiKeyFile
from mlflow_model_server.auth.errors import InvalidKeyFile, KeysUnavailable
from mlflow_model_server.auth.rate_limit import RateLimiter
from mlflow_model_server.headers import Headers, first
from mlflow_model_server.responses import ErrorResponse
from mlflow_model_server.runtime.termination import StartupError
from mlflow_model_server.settings import Settings, SettingsError


@dataclass(frozen=True)
class Principal:
    """Who sent a request: the name of a key, a token's subject, or "" where nobody is asked."""

    name: str = ""


ANONYMOUS = Principal()


class Verifier(Protocol):
    """Recognizes the bearers of keys or tokens."""

    def identify(self, token: str) -> str | None:
        """The name of the token's bearer, or None if the token is not accepted.

        Raises KeysUnavailable if that can't be decided now.
        """


class Limiter(Protocol):
    """Limits how often a caller may send requests."""

    def acquire(self, caller: str) -> float:
        """0 if the caller may send a request now, which then counts; else the seconds to wait."""


class Authenticator:
    """Recognizes who sends a request. It remembers nothing of one for the next."""

    def __init__(self, verifiers: Sequence[Verifier] = (), limit: Limiter | None = None) -> None:
        self._verifiers = verifiers
        self._limit = limit

    def authenticate(self, headers: Headers, address: str = "") -> Principal | ErrorResponse:
        """Who sent the request, or the error that it ends with.

        Header names are in lower case. Where there are no keys, `address` is what the rate limit
        goes by.
        """
        principal = self._principal(headers) if self._verifiers else ANONYMOUS
        if isinstance(principal, ErrorResponse) or self._limit is None:
            return principal
        seconds = self._limit.acquire(principal.name if self._verifiers else address)
        return _too_many(seconds) if seconds > 0 else principal

    def _principal(self, headers: Headers) -> Principal | ErrorResponse:
        token = _bearer(headers)
        if token is None:
            return _unauthorized("send the header Authorization: Bearer <key>")
        try:
            names = (verifier.identify(token) for verifier in self._verifiers)
            name = next(filter(None, names), None)
        except KeysUnavailable:
            return _KEYS_UNAVAILABLE
        if name is None:
            return _unauthorized("the key or token is not valid, or no longer valid", invalid=True)
        return Principal(name)


def make_authenticator(settings: Settings) -> Authenticator | None:
    """The authenticator that the settings ask for; None: neither keys nor limits.

    Call it in the worker: it may start a thread, which a fork would not bring along. Raises
    StartupError with AccessSecretInvalid if the file of keys can't be used: it comes from a Secret.
    """
    verifiers: list[Verifier] = []
    if settings.api_keys_file is not None:
        try:
            verifiers.append(ApiKeyFile(settings.api_keys_file))
        except InvalidKeyFile as error:
            raise StartupError("AccessSecretInvalid", str(error)) from error
    if settings.jwks_url is not None:
        verifiers.append(_token_verifier(settings))
    limit = None
    if settings.rate_limit is not None:
        burst = settings.rate_burst or 2 * settings.rate_limit
        limit = RateLimiter(settings.rate_limit, max(1.0, burst))
    return Authenticator(verifiers, limit) if verifiers or limit else None


def _token_verifier(settings: Settings) -> Verifier:
    # Imported here: it loads a cryptographic library, which only tokens need.
    try:
        from mlflow_model_server.auth import jwt
    except ImportError as error:
        raise SettingsError(
            f"JWKS_URL is set, but {error.name} is not installed: use a scoring "
            "image that has pyjwt[crypto]"
        ) from error
    return jwt.start_token_verifier(settings)


def _bearer(headers: Headers) -> str | None:
    scheme, _, token = (first(headers, b"authorization") or b"").decode("latin-1").partition(" ")
    return token.strip() or None if scheme.lower() == "bearer" else None


def _unauthorized(message: str, invalid: bool = False) -> ErrorResponse:
    # RFC 6750, section 3: without a token no error is named.
    challenge = b'Bearer error="invalid_token"' if invalid else b"Bearer"
    return ErrorResponse(401, "UNAUTHENTICATED", message, challenge=challenge)


_KEYS_UNAVAILABLE = ErrorResponse(
    503,
    "TEMPORARILY_UNAVAILABLE",
    "the keys for verifying tokens are not available: try again in 5 s",
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
