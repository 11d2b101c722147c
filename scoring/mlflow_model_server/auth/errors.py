"""What keeps callers from being recognized."""

from __future__ import annotations


class KeysError(ValueError):
    """A file of keys that can't be used; the message says what to write instead."""


class NotYetKnown(Exception):
    """What a token is checked against has not been fetched yet."""
