"""Loads `templates/*.yaml.j2` and turns them into objects.

Every `{{ … }}` comes out as one JSON value, and JSON is YAML: whatever a user wrote, quotes, line
breaks or `{{`, stays one value and can't become structure. Where a value is made of parts, they are
joined inside the expression: `{{ name ~ "-" ~ suffix }}`.
"""

from __future__ import annotations

import json
import re
from functools import cache
from pathlib import Path
from typing import Any

import jinja2
import yaml

from mlflow_model_operator.domain import KubeObject

# What a JSON string may hold as it is and a quoted YAML scalar may not: controls, line separators.
# (JSON's own ASCII form would not do: it writes 𝄞 as two escapes, which YAML refuses.)
_NOT_IN_YAML = re.compile(
    "[^\x20-\x7e\xa0-\u2027\u202a-\ud7ff\ue000-\ufefe\uff00-\ufffd\U00010000-\U0010ffff]"
)
_FOLDER = Path(__file__).with_name("templates")
# The parser written in C is some ten times as fast; the wheels of PyYAML have it.
_Loader: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


def fill(template: str, /, **values: Any) -> KubeObject:
    """The object that `templates/<template>.yaml.j2` becomes with `values`."""
    text = _template(template).render(values)
    obj: KubeObject = yaml.load(text, Loader=_Loader)
    return obj


@cache
def _template(name: str) -> jinja2.Template:
    return _environment().get_template(f"{name}.yaml.j2")


@cache
def _environment() -> jinja2.Environment:
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(_FOLDER),
        undefined=jinja2.StrictUndefined,
        finalize=_as_json,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters["verbatim"] = _Verbatim
    return environment


class _Verbatim(str):
    """Text that a macro of ours made: YAML already, each value in it JSON already."""


def _as_json(value: Any) -> str:
    if isinstance(value, _Verbatim):
        return value
    return _NOT_IN_YAML.sub(_escaped, json.dumps(value, ensure_ascii=False))


def _escaped(match: re.Match[str]) -> str:
    return f"\\u{ord(match[0]):04x}"
