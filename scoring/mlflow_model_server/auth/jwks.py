"""The keys that an issuer publishes at a URL, as a JSON Web Key Set (RFC 7517).

They are fetched in a thread: no request waits for them, and no answer ends the thread. Keys that
can't be fetched again stay valid for a while, and then no more: one of them may have been revoked.
"""

from __future__ import annotations

import json
import logging
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import jwt

from mlflow_model_server.auth.download import download
from mlflow_model_server.runtime.termination import redact_urls

log = logging.getLogger(__name__)

_RSA_ALGORITHMS = ("RS256", "RS384", "RS512", "PS256", "PS384", "PS512")
# By key type and curve. No symmetric algorithm, with which the issuer's verifiers could sign, too;
# and not "none".
_ALGORITHMS: Mapping[tuple[str, str | None], tuple[str, ...]] = {
    ("RSA", None): _RSA_ALGORITHMS,
    ("EC", "P-256"): ("ES256",),
    ("EC", "P-384"): ("ES384",),
    ("EC", "P-521"): ("ES512",),
    ("OKP", "Ed25519"): ("EdDSA",),
}
_MIN_RSA_BITS = 2048  # NIST SP 800-131A
_MAX_RSA_BITS = 16384  # longer ones only cost time
_REFRESH_INTERVAL = 300.0  # seconds
_RETRY_INTERVAL = 10.0  # seconds, while there are no keys
# An unknown key id asks for a refresh: made-up ids must not become requests to the issuer.
_MIN_REFRESH_INTERVAL = 10.0
_MAX_LOGGED = 200  # characters of an error or a name


@dataclass(frozen=True)
class Key:
    """A public key, and the algorithms of signatures that it verifies."""

    public_key: Any  # of the cryptography library
    algorithms: tuple[str, ...]


Keys = Mapping[str | None, Key]


class KeySet:
    """The keys at a URL, by id."""

    def __init__(
        self,
        url: str,
        max_age: float,
        allow_http: bool = False,
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        """Keys that were fetched more than `max_age` seconds ago are not used any more."""
        self._url = url
        self._max_age = max_age
        self._allow_http = allow_http
        self._now = now
        self._refresh = threading.Event()
        self._requested = -_MIN_REFRESH_INTERVAL
        self._fetched: tuple[float, Keys] | None = None

    def start(self) -> None:
        """Begins to fetch, at once and then every few minutes, in a thread of its own."""
        threading.Thread(target=self._run, name="jwks", daemon=True).start()

    def current(self) -> Keys | None:
        """The keys, or None if they were never fetched, or too long ago."""
        if self._fetched is None:
            return None
        fetched, keys = self._fetched
        return keys if self._now() - fetched <= self._max_age else None

    def refresh_soon(self) -> None:
        """Fetches soon, unless that was done a moment ago."""
        if self._now() - self._requested >= _MIN_REFRESH_INTERVAL:
            self._refresh.set()

    def fetch(self) -> None:
        """Fetches now. A failure is logged, and the previous keys stay until they expire."""
        self._requested = self._now()
        try:
            keys = parse(download(self._url, self._allow_http))
        # Whatever the answer makes of the parsers (RecursionError, a panic in the cryptographic
        # library, which is no Exception): the next answer may be a good one.
        except BaseException as error:
            self._log_failure(error)
            return
        previous = self.current()
        if previous is None or previous.keys() != keys.keys():
            log.info("%d keys from %s", len(keys), redact_urls(self._url))
        self._fetched = self._now(), keys

    def _log_failure(self, error: BaseException) -> None:
        stay = "" if self.current() is None else "; the previous keys stay valid for now"
        url = redact_urls(self._url)
        log.error("JWKS_URL %s returned no usable keys: %s%s", url, _brief(error), stay)

    def _run(self) -> None:
        while True:
            self.fetch()
            interval = _RETRY_INTERVAL if self.current() is None else _REFRESH_INTERVAL
            self._refresh.wait(interval)
            self._refresh.clear()


def parse(body: bytes) -> Keys:
    """The keys of a JSON Web Key Set that verify signatures. Raises ValueError if none does."""
    document = json.loads(body)
    entries = document.get("keys") if isinstance(document, dict) else None
    if not isinstance(entries, list):
        raise ValueError("it is not a JSON Web Key Set")
    keys: dict[str | None, Key] = {}
    for entry in entries:
        if not isinstance(entry, dict) or entry.get("use", "sig") != "sig":
            continue
        key_id = entry.get("kid")
        if entry.get("kty") not in ("RSA", "EC", "OKP") or not isinstance(key_id, str | None):
            continue
        try:
            keys[key_id] = _key(entry)
        except Exception as error:  # of the many ways in which a key can be wrong
            name = str(key_id)[:_MAX_LOGGED]
            log.warning("the key %r of the set can't be used: %s", name, _brief(error))
    if not keys:
        raise ValueError("it has no usable asymmetric key for signatures")
    return keys


def _key(entry: Mapping[str, Any]) -> Key:
    """Raises ValueError, and whatever PyJWT and the cryptographic library raise."""
    algorithms = _algorithms(entry)
    key = jwt.PyJWK(dict(entry), algorithms[0]).key
    if entry["kty"] == "RSA" and not _MIN_RSA_BITS <= key.key_size <= _MAX_RSA_BITS:
        raise ValueError(
            f"an RSA key of {key.key_size} bits is not accepted: use one of at least "
            f"{_MIN_RSA_BITS} bits"
        )
    return Key(key, algorithms)


def _algorithms(entry: Mapping[str, Any]) -> tuple[str, ...]:
    """The key's own `alg` if it has one, else all that its type is for."""
    kind, curve = entry["kty"], entry.get("crv")
    possible = _ALGORITHMS.get((kind, None if kind == "RSA" else curve), ())
    if "alg" in entry:
        possible = tuple(name for name in possible if name == entry["alg"])
    if not possible:
        raise ValueError("its type, curve or algorithm is not supported for signatures")
    return possible


def _brief(error: BaseException) -> str:
    """One line; the text may be the issuer's."""
    return f"{type(error).__name__}: {' '.join(str(error).split())[:_MAX_LOGGED]}"
