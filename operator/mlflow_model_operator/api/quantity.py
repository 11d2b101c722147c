"""Kubernetes' quantities ("500m", "1Gi") and durations ("1m30s"): parsed, compared, written."""

from __future__ import annotations

import re
from decimal import Decimal
from functools import lru_cache

# Gateway API's duration (GEP-2257), so that the same text can go into an HTTPRoute as it is.
# RE2 and Python read it alike; it is used in the CRD too.
DURATION = r"([0-9]{1,5}(h|m|s|ms)){1,4}"
DURATION_HELP = "write a number and a unit (ms, s, m or h), like 500ms, 30s, 2m or 1h30m"

QUANTITY_HELP = "write a number with a Kubernetes unit, like 500m, 2, 512Mi or 4Gi"

_DURATION = re.compile(DURATION)
_DURATION_PART = re.compile(r"([0-9]{1,5})(h|ms|m|s)")
_MILLISECONDS = {"ms": 1, "s": 1_000, "m": 60_000, "h": 3_600_000}

_QUANTITY = re.compile(
    r"(?P<number>[+-]?([0-9]+(\.[0-9]*)?|\.[0-9]+))"
    r"((?P<suffix>[KMGTPE]i|[numkMGTPE])|[eE](?P<exponent>[+-]?[0-9]{1,3}))?"
)
_SUFFIXES = {
    "n": Decimal(10) ** -9,
    "u": Decimal(10) ** -6,
    "m": Decimal(10) ** -3,
    "k": Decimal(10) ** 3,
    **{letter: Decimal(1000) ** power for power, letter in enumerate("MGTPE", start=2)},
    **{f"{letter}i": Decimal(1024) ** power for power, letter in enumerate("KMGTPE", start=1)},
}


class InvalidQuantity(ValueError):
    """A quantity or duration that cannot be read; the message says what to write instead."""


@lru_cache(maxsize=4096)
def parse(quantity: str | int | float) -> Decimal:
    """The value of a Kubernetes quantity in its base unit (cores, bytes, pieces).

    Raises InvalidQuantity for anything that Kubernetes would not read either.
    """
    match = _QUANTITY.fullmatch(str(quantity))
    if match is None:
        raise InvalidQuantity(f"{quantity!r} is not a quantity: {QUANTITY_HELP}")
    number = Decimal(match["number"])
    if match["exponent"]:
        return number.scaleb(int(match["exponent"]))
    return number * _SUFFIXES.get(match["suffix"] or "", Decimal(1))


def equal(left: str | int | float, right: str | int | float) -> bool:
    """Whether two quantities are equal: "500m" and "0.5", "1Gi" and "1024Mi".

    Anything else is only equal to itself.
    """
    if left == right:
        return True
    try:
        return parse(left) == parse(right)
    except InvalidQuantity:
        return False


@lru_cache(maxsize=1024)
def seconds(duration: str) -> float:
    """The length of a duration in seconds: 90.0 for "1m30s", 0.5 for "500ms".

    Raises InvalidQuantity with a sentence that says what to write instead.
    """
    if _DURATION.fullmatch(duration) is None:
        raise InvalidQuantity(f"{duration!r} is not a duration: {DURATION_HELP}")
    parts = _DURATION_PART.findall(duration)
    return sum(int(number) * _MILLISECONDS[unit] for number, unit in parts) / 1000


def format_seconds(length: float) -> str:
    """A length in seconds as a duration.

    >>> format_seconds(90), format_seconds(5400), format_seconds(0.5), format_seconds(0)
    ('1m30s', '1h30m', '500ms', '0s')
    """
    rest, parts = round(length * 1000), []
    for unit in ("h", "m", "s", "ms"):
        number, rest = divmod(rest, _MILLISECONDS[unit])
        parts += [f"{number}{unit}"] if number else []
    return "".join(parts) or "0s"
