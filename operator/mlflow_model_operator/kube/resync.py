"""The safety net under kopf's watch of the resources.

A watch that was cut off for long starts over with a list, and kopf does not tell what was deleted
meanwhile. So now and then the resources are listed (metadata only, answered from the API server's
own cache), and what is no longer there is dropped.
"""

from __future__ import annotations

from mlflow_model_operator.api.resource import Key
from mlflow_model_operator.kube import kinds
from mlflow_model_operator.kube.cache import Cache
from mlflow_model_operator.kube.client import Cluster


async def drop_vanished(cluster: Cluster, cache: Cache, namespaces: tuple[str, ...]) -> list[Key]:
    """Drops from `cache` the resources that the API server no longer has; returns them."""
    vanished = []
    for namespace in namespaces or ("",):
        present, as_of = await cluster.list_uids(kinds.RESOURCE, namespace)
        vanished += cache.drop_others(kinds.RESOURCE, namespace, present, as_of)
    return vanished
