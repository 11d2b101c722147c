"""Output for programs: JSON or YAML. Pure."""

from __future__ import annotations

import json
from typing import Any

FORMATS = ("yaml", "json")


def dump(value: Any, output: str) -> str:
    """One document."""
    if output == "json":
        return json.dumps(value, indent=2, ensure_ascii=False) + "\n"
    return _yaml(value)


def dump_all(values: list[Any], output: str) -> str:
    """Kubernetes objects: a YAML stream, or a List in JSON; both fit `kubectl apply --filename`."""
    if output == "json":
        return dump({"apiVersion": "v1", "kind": "List", "items": values}, output)
    return "---\n".join(_yaml(value) for value in values)


def _yaml(value: Any) -> str:
    import yaml  # not at the start: it takes longer than all the rest

    text: str = yaml.safe_dump(value, sort_keys=False, width=100, allow_unicode=True)
    return text
