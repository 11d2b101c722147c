"""The safety net under the watches.

A watch that was cut off for long starts over with a list, and a list does not tell what was deleted
meanwhile. So now and then the names of all children are listed (metadata only, answered from the
API server's own cache), and what is no longer there is dropped.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable

from mlflow_model_operator.cluster.cache import Cache
from mlflow_model_operator.cluster.client import Cluster
from mlflow_model_operator.cluster.kinds import Kind
from mlflow_model_operator.domain import Key


async def drop_vanished(
    cluster: Cluster, cache: Cache, watched: Iterable[Kind], namespaces: tuple[str, ...]
) -> AsyncIterator[Key]:
    """Drops from `cache` what the API server no longer has; yields the resources concerned."""
    for kind in watched:
        for namespace in namespaces or ("",):
            known = cache.uids(kind, namespace)
            if not known:
                continue
            present = await cluster.list_uids(kind, namespace)
            for obj in (obj for uid, obj in known.items() if uid not in present):
                key = cache.drop(kind, obj)
                if key is not None:
                    yield key
