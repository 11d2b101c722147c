"""Whether a live object already is as desired. Pure.

Only stated fields are compared: defaults that the API server fills in, and fields that others own,
don't matter. A field that was stated before and no longer is goes unnoticed here: where that can
happen, in autoscalers and routes, an annotation holds a hash of the whole spec, so that differs.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from mlflow_model_operator.api import quantity
from mlflow_model_operator.kube.objects import KubeObject

# Entries of these lists are identified by a key, not by their place: others may add entries, which
# our apply leaves alone. Kubernetes' "list-map-keys" of the kinds that the operator writes.
_KEYED_LISTS: dict[str, tuple[str, ...]] = {
    "containers": ("name",),
    "initContainers": ("name",),
    "env": ("name",),
    "ports": ("containerPort", "port", "protocol"),  # of a container, or of a Service
    "volumes": ("name",),
    "volumeMounts": ("mountPath",),
    "imagePullSecrets": ("name",),
    "topologySpreadConstraints": ("topologyKey", "whenUnsatisfiable"),
    "ownerReferences": ("uid",),
}
# Maps whose values are quantities: "0.5" and "500m" mean the same.
_QUANTITY_MAPS = {"requests", "limits"}
# Fields that are quantities, by the end of their path.
_QUANTITY_FIELDS = re.compile(r"\.(averageValue|target\.value|sizeLimit|divisor)$")
# Our own objects' selectors and labels: one key more would change what they mean.
_EXACT_MAPS = {"selector", "matchLabels", "nodeSelector"}


def needs_apply(desired: KubeObject, live: KubeObject) -> str | None:
    """The path of the first field of `desired` that differs in `live`; None if none does."""
    for part in ("metadata", "spec", "data"):
        difference = _differs(desired.get(part, {}), live.get(part, {}), part)
        if difference:
            return difference
    return None


def _differs(desired: Any, live: Any, path: str) -> str | None:
    if isinstance(desired, dict):
        return _map_differs(desired, live, path)
    if isinstance(desired, list):
        return _list_differs(desired, live, path)
    if _QUANTITY_FIELDS.search(path):
        return None if live is not None and quantity.equal(desired, live) else path
    return None if _same_value(desired, live) else path


def _map_differs(desired: dict[str, Any], live: Any, path: str) -> str | None:
    if not desired:
        return None  # states nothing
    if not isinstance(live, dict):
        return path
    field = path.rsplit(".", 1)[-1]
    if field in _EXACT_MAPS and set(desired) != set(live):
        return path
    for name, value in desired.items():
        if field in _QUANTITY_MAPS and quantity.equal(value, live.get(name, "")):
            continue
        difference = _differs(value, live.get(name), f"{path}.{name}")
        if difference:
            return difference
    return None


def _list_differs(desired: list[Any], live: Any, path: str) -> str | None:
    live = live or []
    if not isinstance(live, list):
        return path
    keys = _KEYED_LISTS.get(path.rsplit(".", 1)[-1])
    if keys:
        return _keyed_list_differs(desired, live, path, keys)
    if len(desired) != len(live):
        return path
    for index, (entry, live_entry) in enumerate(zip(desired, live, strict=True)):
        difference = _differs(entry, live_entry, f"{path}[{_entry_name(entry, index)}]")
        if difference:
            return difference
    return None


def _keyed_list_differs(
    desired: list[Any], live: list[Any], path: str, keys: tuple[str, ...]
) -> str | None:
    by_key = {_key(entry, keys): entry for entry in live if isinstance(entry, dict)}
    for index, entry in enumerate(desired):
        place = f"{path}[{_entry_name(entry, index)}]"
        live_entry = by_key.get(_key(entry, keys))
        difference = place if live_entry is None else _differs(entry, live_entry, place)
        if difference:
            return difference
    return None


def _key(entry: Mapping[str, Any], keys: tuple[str, ...]) -> tuple[Any, ...]:
    return tuple(entry.get(key) for key in keys)


def _entry_name(entry: Any, index: int) -> str:
    return str(entry["name"]) if isinstance(entry, dict) and "name" in entry else str(index)


def _same_value(desired: Any, live: Any) -> bool:
    # The API leaves out what is empty or false.
    if desired in (None, "", False) and live is None:
        return True
    return type(desired) is type(live) and bool(desired == live)
