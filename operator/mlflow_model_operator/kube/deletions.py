"""What was deleted lately, so that a response that arrives after that does not bring it back. Pure.

The response to a write may be read after the watch has brought the deletion that came later.
Nothing would ever correct a cache that then stored the response.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable

from mlflow_model_operator.kube import kinds
from mlflow_model_operator.kube.kinds import Kind
from mlflow_model_operator.kube.objects import KubeObject, namespace_of, uid_of, version_of

# Longer than any request takes.
RETENTION = 120.0  # seconds


class Deletions:
    """The deletions of the last minutes, and what the last lists have shown."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        # By uid: the resource version of the deletion, and when it was recorded, oldest first.
        self._by_uid: OrderedDict[str, tuple[int, float]] = OrderedDict()
        self._listed: dict[tuple[str, str], int] = {}

    def add(self, kind: Kind, obj: KubeObject) -> None:
        """Records that a watch has brought the end of `obj`."""
        if kind is kinds.POD:  # which are never written to
            return
        now = self._clock()
        self._by_uid[uid_of(obj)] = (version_of(obj), now)
        while next(iter(self._by_uid.values()))[1] < now - RETENTION:
            self._by_uid.popitem(last=False)

    def add_list(self, kind: Kind, namespace: str, version: int) -> None:
        """Records that a list as of `version` has shown all there was; "" means all namespaces."""
        self._listed[kind.kind, namespace] = version

    def covers(self, obj: KubeObject) -> bool:
        """Whether `obj` was deleted after this version of it."""
        deleted_at, _ = self._by_uid.get(uid_of(obj), (0, 0.0))
        return version_of(obj) < deleted_at

    def is_listed(self, kind: Kind, obj: KubeObject) -> bool:
        """Whether a list was made since this version, which shows `obj` if it still exists."""
        scopes = ("", namespace_of(obj))
        return any(version_of(obj) <= self._listed.get((kind.kind, scope), 0) for scope in scopes)
