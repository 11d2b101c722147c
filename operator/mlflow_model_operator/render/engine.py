"""Loads `templates/*.yaml.j2` and turns them into objects.

A template is YAML with expressions. An expression does not become text: it leaves a numbered slot,
and its value is put into the finished object. So whatever a user wrote, like quotes, line breaks or
`{{`, is never parsed and can't become structure. It is also fast: the YAML text differs only where
the template branches, so it is parsed once for all resources.
"""

from __future__ import annotations

from functools import cache, lru_cache
from pathlib import Path
from typing import Any

import jinja2
import yaml

from mlflow_model_operator.kube.objects import KubeObject

_FOLDER = Path(__file__).with_name("templates")
_SLOT = "!slot"
_VALUES = "slots"  # the name in a template's context under which the values are collected
# Texts differ by the branches of the templates only.
_MAX_PARSED_TEXTS = 512


class _Slot:
    """The place of an expression in parsed YAML."""

    def __init__(self, number: int) -> None:
        self.number = number


class _MacroOutput(str):
    """The output of a template's own macro: YAML with slots, to be inserted as it is."""


class _Loader(yaml.SafeLoader):
    """Safe YAML with slots."""


def fill(template: str, /, **values: Any) -> KubeObject:
    """Renders `templates/<template>.yaml.j2` with `values`."""
    slots: list[Any] = []
    text = _template(template).render(values, **{_VALUES: slots})
    obj: KubeObject = _filled(_parsed(text), slots)
    return obj


@cache
def _template(name: str) -> jinja2.Template:
    return _environment().get_template(f"{name}.yaml.j2")


@cache
def _environment() -> jinja2.Environment:
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(_FOLDER),
        undefined=jinja2.StrictUndefined,
        finalize=_leave_slot,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters["verbatim"] = _MacroOutput
    return environment


@jinja2.pass_context
def _leave_slot(context: jinja2.runtime.Context, value: Any) -> str:
    """Replaces the value of an expression by a slot."""
    if isinstance(value, _MacroOutput):
        return value
    if isinstance(value, jinja2.Undefined):
        return str(value)  # raises, and names what is missing
    slots: list[Any] = context[_VALUES]
    slots.append(value)
    return f"{_SLOT} {len(slots) - 1}"


@lru_cache(_MAX_PARSED_TEXTS)
def _parsed(text: str) -> Any:
    return yaml.load(text, Loader=_Loader)


def _filled(tree: Any, slots: list[Any]) -> Any:
    """A copy of `tree` with the values in their slots."""
    if isinstance(tree, dict):
        return {key: _filled(value, slots) for key, value in tree.items()}
    if isinstance(tree, list):
        return [_filled(item, slots) for item in tree]
    return slots[tree.number] if isinstance(tree, _Slot) else tree


def _slot_from_yaml(loader: yaml.SafeLoader, node: yaml.ScalarNode) -> _Slot:
    return _Slot(int(loader.construct_scalar(node)))


_Loader.add_constructor(_SLOT, _slot_from_yaml)
