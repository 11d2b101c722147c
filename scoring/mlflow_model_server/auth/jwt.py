"""JSON Web Tokens, checked against the published keys of who issues them.

The keys are fetched in a thread, and kept while they can't be fetched: no request waits for it.
"""

from __future__ import annotations

import hashlib
import json
import logging
import threading
import time
import urllib.request
from collections.abc import Callable, Mapping
from http.client import HTTPException
from typing import Any

import jwt

from mlflow_model_server.auth.errors import NotYetKnown

log = logging.getLogger(__name__)

# With a symmetric algorithm whoever can check a token could also make one; "none" checks nothing.
ALGORITHMS = (
    *("RS256", "RS384", "RS512", "PS256", "PS384", "PS512"),
    *("ES256", "ES384", "ES512", "EdDSA"),
)
_ASYMMETRIC = ("RSA", "EC", "OKP")
_LEEWAY = 30  # seconds that clocks may differ
_LONGEST_TOKEN = 8192
_MOST_REMEMBERED = 4096
_SECONDS_TO_FETCH = 10
_MOST_BYTES = 1 << 20
_SECONDS_BETWEEN_FETCHES = 300.0
_SECONDS_AFTER_FAILURE = 10.0
# An unknown key id asks for a fetch: made-up ids must not become requests to the issuer.
_SECONDS_BETWEEN_ASKED = 10.0

Keys = Mapping[str | None, jwt.PyJWK]


class KeySet:
    """The keys at a URL (RFC 7517), by id."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._asked = threading.Event()
        self._fetched = 0.0
        self.keys: Keys | None = None

    def start(self) -> None:
        """Begins to fetch, at once and then every few minutes, in a thread of its own."""
        threading.Thread(target=self._run, name="jwks", daemon=True).start()

    def ask(self) -> None:
        """Fetches soon, unless that was done a moment ago."""
        if time.monotonic() - self._fetched >= _SECONDS_BETWEEN_ASKED:
            self._asked.set()

    def fetch(self) -> None:
        """Fetches now. What was known stays if it fails; the log tells."""
        self._fetched = time.monotonic()
        try:
            with urllib.request.urlopen(self._url, timeout=_SECONDS_TO_FETCH) as answer:
                found = parse(answer.read(_MOST_BYTES))
        except (OSError, HTTPException, ValueError) as error:
            stay = "" if self.keys is None else "; the keys fetched before stay"
            log.error("JWKS_URL %s gives no keys: %s%s", self._url, error, stay)
            return
        if self.keys is None or self.keys.keys() != found.keys():
            log.info("%d keys from %s", len(found), self._url)
        self.keys = found

    def _run(self) -> None:
        while True:
            self.fetch()
            known = self.keys is not None
            self._asked.wait(_SECONDS_BETWEEN_FETCHES if known else _SECONDS_AFTER_FAILURE)
            self._asked.clear()


def parse(body: bytes) -> Keys:
    """The keys of a JSON Web Key Set that can check signatures. Raises ValueError if none can."""
    told = json.loads(body)
    listed = told.get("keys") if isinstance(told, dict) else None
    if not isinstance(listed, list):
        raise ValueError("it is no JSON Web Key Set")
    keys: dict[str | None, jwt.PyJWK] = {}
    for one in listed:
        if not isinstance(one, dict) or one.get("kty") not in _ASYMMETRIC:
            continue
        if one.get("use", "sig") != "sig":
            continue
        try:
            keys[one.get("kid")] = jwt.PyJWK(one)
        except (jwt.PyJWTError, ValueError, TypeError) as error:
            log.warning("the key %r of the set can't be used: %s", one.get("kid"), error)
    if not keys:
        raise ValueError("it has no asymmetric key for signatures")
    return keys


class TokenCheck:
    """Knows who presents a token, if it is by the issuer, for this audience, and in time."""

    def __init__(
        self,
        key_set: KeySet,
        issuer: str | None,
        audience: str | None,
        now: Callable[[], float] = time.time,
    ) -> None:
        self._key_set = key_set
        self._issuer = issuer
        self._audience = audience
        self._now = now
        # A signature takes longer to check than a small model to predict. By the token's digest:
        # who it is, until when, and the keys that said so.
        self._remembered: dict[bytes, tuple[str, float, Keys]] = {}

    def caller(self, token: str) -> str | None:
        """The token's subject, or None. Raises NotYetKnown."""
        # JSON Web Tokens have three parts; anything else is perhaps a key of another kind.
        if len(token) > _LONGEST_TOKEN or token.count(".") != 2:
            return None
        keys = self._key_set.keys
        if keys is None:
            raise NotYetKnown
        digest = hashlib.sha256(token.encode("utf-8", "surrogateescape")).digest()
        known = self._remembered.get(digest)
        if known is not None and known[1] > self._now() and known[2] is keys:
            return known[0]
        claims = self._claims(token, keys)
        if claims is None:
            return None
        if len(self._remembered) >= _MOST_REMEMBERED:
            self._remembered.clear()
        name = str(claims["sub"])
        self._remembered[digest] = name, float(claims["exp"]), keys
        return name

    def _claims(self, token: str, keys: Keys) -> dict[str, Any] | None:
        try:
            key_id = jwt.get_unverified_header(token).get("kid")
            key = keys.get(key_id)
            if key is None:
                self._key_set.ask()  # the issuer may have a new one
                return None
            claims: dict[str, Any] = jwt.decode(
                token,
                key,
                algorithms=ALGORITHMS,
                issuer=self._issuer,
                audience=self._audience,
                leeway=_LEEWAY,
                options={"require": ["exp", "iss", "aud", "sub"]},
            )
            return claims
        except (jwt.PyJWTError, ValueError, TypeError, RecursionError) as error:
            log.debug("a token is refused: %s", error)
            return None
