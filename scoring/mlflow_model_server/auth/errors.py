"""Reasons why a caller can't be authenticated."""

from __future__ import annotations


class InvalidKeyFile(ValueError):
    """A file of keys that can't be used; the message says what to write instead."""


class KeysUnavailable(Exception):
    """The keys that tokens are verified with were not fetched yet, or too long ago."""
