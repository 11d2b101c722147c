"""Reads the counters that an analysis needs from Prometheus' text format. Pure.

The text comes from a model's pod, so from anybody: it is read in linear time, each line and the
number of series are bounded, and of all other series nothing is stored.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

MAX_LINE_BYTES = 4096
MAX_SERIES = 8192

REQUESTS = "mlflow_model_server_requests_total"
DURATIONS = "mlflow_model_server_request_duration_seconds_bucket"
FEATURE_AGES = "mlflow_model_server_feature_age_seconds_bucket"
PREDICTIONS = "mlflow_model_server_prediction_values_total"
# Of the copies of requests that a pod sends; all have the revision that gets them as a label.
SHADOW_INFO = "mlflow_model_server_shadow_info"
SHADOW_REQUESTS = "mlflow_model_server_shadow_requests_total"
SHADOW_DURATIONS = "mlflow_model_server_shadow_duration_seconds_bucket"
SHADOW_COMPARED = "mlflow_model_server_shadow_compared_rows_total"
SHADOW_DISAGREED = "mlflow_model_server_shadow_disagreed_rows_total"
SHADOW_NUMERIC = "mlflow_model_server_shadow_numeric_rows_total"
SHADOW_ABSOLUTE_ERROR = "mlflow_model_server_shadow_absolute_error_total"
_START_TIME = "process_start_time_seconds"
_SHADOW_REVISION = "shadow_revision"
# The labels by which the series of each counter differ.
_LABELS: Mapping[str, tuple[str, str]] = {
    REQUESTS: ("route", "code"),
    DURATIONS: ("route", "le"),
    PREDICTIONS: ("output", "bin"),
    FEATURE_AGES: ("le", ""),
    SHADOW_INFO: (_SHADOW_REVISION, ""),
    SHADOW_REQUESTS: (_SHADOW_REVISION, "outcome"),
    SHADOW_DURATIONS: (_SHADOW_REVISION, "le"),
    SHADOW_COMPARED: (_SHADOW_REVISION, ""),
    SHADOW_DISAGREED: (_SHADOW_REVISION, ""),
    SHADOW_NUMERIC: (_SHADOW_REVISION, ""),
    SHADOW_ABSOLUTE_ERROR: (_SHADOW_REVISION, ""),
}
_PREFIXES = tuple(f"{name}{{".encode() for name in (*_LABELS, _START_TIME))
_LABEL = re.compile(r'([a-zA-Z_][a-zA-Z0-9_]*)="((?:[^"\\]|\\.)*)"[ ]?,?[ ]?')
_ESCAPE = re.compile(r"\\(.)")
_ESCAPED = {"n": "\n"}


class InvalidExposition(ValueError):
    """The text is not what a scoring server serves; the message says what is wrong."""


class Series(NamedTuple):
    """One series of a counter, by the values of its two labels."""

    counter: str
    first: str
    second: str


@dataclass(frozen=True)
class Exposition:
    """The counters of one pod at one moment, in the order of the text."""

    samples: Mapping[Series, float] = field(default_factory=dict)
    started: float | None = None  # when its first process began, as Unix time
    # Those of copies of requests apart: they begin again with each other shadow.
    shadow: Mapping[Series, float] = field(default_factory=dict)


def bucket_bound(text: str) -> float:
    """The upper bound of a histogram's bucket; of one that is no number, infinity."""
    try:
        return float(text)
    except ValueError:
        return math.inf


class ExpositionParser:
    """Takes the text in chunks, as they arrive."""

    def __init__(self, revision: str) -> None:
        """`revision` must be that of all series: an address may be another pod's by now."""
        self._revision = revision
        self._rest = b""
        self._samples: dict[Series, float] = {}
        self._shadow: dict[Series, float] = {}
        self._started: float | None = None

    def feed(self, chunk: bytes) -> None:
        """Reads one more chunk. Raises InvalidExposition."""
        *lines, self._rest = (self._rest + chunk).split(b"\n")
        for line in lines:
            self._read(line)
        if len(self._rest) > MAX_LINE_BYTES:
            raise InvalidExposition(f"a line has more than {MAX_LINE_BYTES} bytes")

    def finish(self) -> Exposition:
        """What was read. Raises InvalidExposition where nothing is of a scoring server."""
        self._read(self._rest)
        if self._started is None:
            raise InvalidExposition("it has no metrics of the scoring server")
        return Exposition(self._samples, self._started, self._shadow)

    def _read(self, line: bytes) -> None:
        if not line.startswith(_PREFIXES):
            return
        if len(line) > MAX_LINE_BYTES:
            raise InvalidExposition(f"a line has more than {MAX_LINE_BYTES} bytes")
        name, labels, value = _parse(line.decode("utf-8", errors="replace"))
        if labels.get("revision") != self._revision:
            raise InvalidExposition("its metrics are of another revision")
        if name == _START_TIME:
            self._started = value
            return
        first, second = _LABELS[name]
        if len(self._samples) + len(self._shadow) >= MAX_SERIES:
            raise InvalidExposition(f"it has more than {MAX_SERIES} series")
        samples = self._shadow if first == _SHADOW_REVISION else self._samples
        samples[Series(name, labels.get(first, ""), labels.get(second, ""))] = value


def _parse(line: str) -> tuple[str, dict[str, str], float]:
    """Name, labels and value of a sample; a time after the value is ignored."""
    name, _, rest = line.partition("{")
    labels: dict[str, str] = {}
    position = 0
    while match := _LABEL.match(rest, position):
        labels[match[1]] = _ESCAPE.sub(lambda escape: _ESCAPED.get(escape[1], escape[1]), match[2])
        position = match.end()
    if rest[position : position + 1] != "}":
        raise InvalidExposition("a line has invalid labels")
    words = rest[position + 1 :].split(maxsplit=1)
    return name, labels, _number(words, may_be_infinite=name == SHADOW_ABSOLUTE_ERROR)


def _number(words: list[str], *, may_be_infinite: bool) -> float:
    """A counter's value: not below zero, and finite unless it is a sum of what models predict."""
    try:
        value = float(words[0])
    except (IndexError, ValueError):
        raise InvalidExposition("a line has no value") from None
    if may_be_infinite and not math.isfinite(value):
        return math.inf
    if not math.isfinite(value) or value < 0:
        raise InvalidExposition("a counter is not a number of at least 0")
    return value
