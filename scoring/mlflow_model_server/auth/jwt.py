"""JSON Web Tokens, verified with the published keys of their issuer."""

from __future__ import annotations

import hashlib
import logging
import time
from collections.abc import Callable, Collection
from typing import Any, Protocol

import jwt

from mlflow_model_server.auth.errors import KeysUnavailable
from mlflow_model_server.auth.jwks import Keys, KeySet
from mlflow_model_server.settings import Settings

log = logging.getLogger(__name__)

_LEEWAY = 30  # seconds that clocks may differ
_MAX_TOKEN_LENGTH = 8192
_MAX_CACHED = 4096


class KeySource(Protocol):
    """The issuer's keys."""

    def current(self) -> Keys | None:
        """The keys that are valid now; None if they are not available."""

    def refresh_soon(self) -> None:
        """Asks the issuer for its keys, which may have changed."""


def start_token_verifier(settings: Settings) -> TokenVerifier:
    """The verifier that the settings describe; it starts the thread that fetches the keys."""
    assert settings.jwks_url is not None
    key_set = KeySet(settings.jwks_url, settings.jwks_max_age, settings.jwks_allow_http)
    key_set.start()
    return TokenVerifier(key_set, settings.jwt_issuer, settings.jwt_audience, settings.jwt_subjects)


class TokenVerifier:
    """Identifies callers by tokens that are by the issuer, for this audience, and in time."""

    def __init__(
        self,
        keys: KeySource,
        issuer: str | None,
        audience: str | None,
        subjects: Collection[str] = (),
        now: Callable[[], float] = time.time,
    ) -> None:
        """`subjects`: those whose tokens are accepted; empty: those of any subject."""
        self._keys = keys
        self._issuer = issuer
        self._audience = audience
        self._subjects = frozenset(subjects)
        self._now = now
        # Verifying a signature takes longer than a small model's prediction. By the token's digest:
        # its subject, its end, and the keys that verified it.
        self._cache: dict[bytes, tuple[str, float, Keys]] = {}

    def identify(self, token: str) -> str | None:
        """The token's subject, or None. Raises KeysUnavailable."""
        # JSON Web Tokens have three parts; anything else may be a key of another kind.
        if len(token) > _MAX_TOKEN_LENGTH or token.count(".") != 2:
            return None
        keys = self._keys.current()
        if keys is None:
            raise KeysUnavailable
        digest = hashlib.sha256(token.encode("utf-8", "surrogateescape")).digest()
        cached = self._cache.get(digest)
        if cached is not None and cached[1] > self._now() and cached[2] is keys:
            return cached[0]
        claims = self._claims(token, keys)
        if claims is None or (self._subjects and claims["sub"] not in self._subjects):
            return None
        if len(self._cache) >= _MAX_CACHED:
            self._cache.clear()
        subject = str(claims["sub"])
        self._cache[digest] = subject, float(claims["exp"]), keys
        return subject

    def _claims(self, token: str, keys: Keys) -> dict[str, Any] | None:
        try:
            key_id = jwt.get_unverified_header(token).get("kid")
            key = keys.get(key_id)
            if key is None:
                self._keys.refresh_soon()  # the issuer may have a new one
                return None
            claims: dict[str, Any] = jwt.decode(
                token,
                key.public_key,
                algorithms=key.algorithms,
                issuer=self._issuer,
                audience=self._audience,
                leeway=_LEEWAY,
                options={"require": ["exp", "iss", "aud", "sub"]},
            )
            return claims
        except (jwt.PyJWTError, ValueError, TypeError, RecursionError) as error:
            log.debug("a token was rejected: %s", error)
            return None
