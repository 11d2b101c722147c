"""The safety net under the watches: what they did not bring is asked for.

kopf does not report what was deleted while its watch of the resources was cut off, so now and then
the resources are listed (metadata only, answered from the API server's own cache). The children's
reflectors list by themselves.
"""

from __future__ import annotations

from mlflow_model_operator.api.resource import Key
from mlflow_model_operator.kube import kinds
from mlflow_model_operator.kube.cache import Cache
from mlflow_model_operator.kube.client import Cluster
from mlflow_model_operator.kube.kinds import Kind


async def delete_vanished(cluster: Cluster, cache: Cache, namespaces: tuple[str, ...]) -> None:
    """Deletes from `cache` the resources that the API server no longer has, and reports them."""
    for namespace in namespaces or ("",):
        present, as_of = await cluster.list_uids(kinds.RESOURCE, namespace)
        cache.delete_absent(kinds.RESOURCE, namespace, present, as_of)


async def confirm_absent(cluster: Cluster, cache: Cache, key: Key, kind: Kind, name: str) -> bool:
    """Whether the API server has no `kind` of that name in the namespace of `key`.

    One that it has is in the cache afterwards, as far as it belongs to a resource, even where an
    edited label keeps it from our watch.
    """
    obj = await cluster.get(kind, key.namespace, name)
    if obj is not None:
        cache.store_read(kind, obj)
    else:
        cache.discard(kind, key, name)
    return obj is None
