"""Whether two answers mean the same, and where they don't."""

from __future__ import annotations

import json
import math
from typing import Any

from tests.parity.asgi import Answer

# Predicting more rows at once may change the last bits of a sum.
RELATIVE = 1e-9
# What float32 models may differ by, for the same reason.
RELATIVE_SINGLE = 2e-6

ERROR_FIELDS = ("error_code", "error_class", "sqlstate")


def differences(theirs: Answer, ours: Answer, relative: float = RELATIVE) -> list[str]:
    """Sentences, each a difference between MLflow's answer and ours; none: they mean the same.

    Errors are compared by status, content type, names of fields, `error_code` and `error_class`:
    sentences for people may differ.
    """
    found = []
    if ours.raised is not None:
        found.append(f"ours let {ours.raised!r} escape")
    if theirs.status != ours.status:
        found.append(f"status {theirs.status} became {ours.status}")
    for name in ("content-type", "allow", "location"):
        if _header(theirs, name) != _header(ours, name):
            found.append(f"{name} {theirs.headers.get(name)} became {ours.headers.get(name)}")
    return found + _body_differences(theirs, ours, relative)


def _header(answer: Answer, name: str) -> str | None:
    value = answer.headers.get(name)
    return value and value.replace(" ", "").lower()


def _body_differences(theirs: Answer, ours: Answer, relative: float) -> list[str]:
    their_body, our_body = parsed(theirs), parsed(ours)
    if theirs.status == 200 or "error_code" not in _fields(their_body):
        if isinstance(their_body, bytes) and theirs.status != 200:
            return ["ours says nothing"] if their_body and not our_body else []
        return _differences("body", their_body, our_body, relative)
    if _fields(their_body) != _fields(our_body):
        return [f"fields {_fields(their_body)} became {_fields(our_body) or our_body}"]
    if not our_body.get("message"):
        return ["ours has no message"]
    return [
        f"{name} {their_body.get(name)} became {our_body.get(name)}"
        for name in ERROR_FIELDS
        if their_body.get(name) != our_body.get(name)
    ]


def _fields(body: Any) -> list[str]:
    return sorted(body) if isinstance(body, dict) else []


def parsed(answer: Answer) -> Any:
    """The body as JSON where it is JSON, else as it is."""
    try:
        return json.loads(answer.body)
    except ValueError:
        return answer.body


def _differences(where: str, theirs: Any, ours: Any, relative: float) -> list[str]:
    if type(theirs) is not type(ours):
        return [f"{where}: {_short(theirs)} became {_short(ours)}"]
    if isinstance(theirs, dict):
        if theirs.keys() != ours.keys():
            return [f"{where}: fields {list(theirs)} became {list(ours)}"]
        inside = [(f"{where}.{key}", theirs[key], ours[key]) for key in theirs]
    elif isinstance(theirs, list):
        if len(theirs) != len(ours):
            return [f"{where}: {len(theirs)} items became {len(ours)}"]
        inside = [
            (f"{where}[{i}]", a, b) for i, (a, b) in enumerate(zip(theirs, ours, strict=True))
        ]
    else:
        same = _same_float(theirs, ours, relative) if isinstance(theirs, float) else theirs == ours
        return [] if same else [f"{where}: {_short(theirs)} became {_short(ours)}"]
    return [found for place in inside for found in _differences(*place, relative)][:5]


def _same_float(theirs: float, ours: float, relative: float) -> bool:
    if math.isnan(theirs) or math.isnan(ours):
        return math.isnan(theirs) and math.isnan(ours)
    return math.isclose(theirs, ours, rel_tol=relative, abs_tol=1e-12)


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 120 else f"{text[:100]}… ({len(text)} characters)"
