"""The kinds of object that the operator reads or writes, and where the API serves them."""

from __future__ import annotations

from dataclasses import dataclass

from mlflow_model_operator.api import names


@dataclass(frozen=True)
class Kind:
    """A kind of object, by its name in YAML and its address in the API."""

    kind: str
    group: str  # "" is the core group
    version: str
    plural: str

    @property
    def api_version(self) -> str:
        """As written in an object's `apiVersion`."""
        return f"{self.group}/{self.version}" if self.group else self.version

    @property
    def group_path(self) -> str:
        """The address of the group version in the API."""
        return f"/apis/{self.group}/{self.version}" if self.group else f"/api/{self.version}"

    def path(self, namespace: str, name: str | None = None) -> str:
        """The address of one object, or of all in a namespace, or with "" in the cluster."""
        scope = f"/namespaces/{namespace}" if namespace else ""
        base = f"{self.group_path}{scope}/{self.plural}"
        return f"{base}/{name}" if name else base


RESOURCE = Kind(names.KIND, names.GROUP, names.VERSION, names.PLURAL)
DEPLOYMENT = Kind("Deployment", "apps", "v1", "deployments")
SERVICE = Kind("Service", "", "v1", "services")
AUTOSCALER = Kind("HorizontalPodAutoscaler", "autoscaling", "v2", "horizontalpodautoscalers")
BUDGET = Kind("PodDisruptionBudget", "policy", "v1", "poddisruptionbudgets")
ROUTE = Kind("HTTPRoute", "gateway.networking.k8s.io", "v1", "httproutes")
NETWORK_POLICY = Kind("NetworkPolicy", "networking.k8s.io", "v1", "networkpolicies")
CONFIG_MAP = Kind("ConfigMap", "", "v1", "configmaps")
POD = Kind("Pod", "", "v1", "pods")
GATEWAY = Kind("Gateway", "gateway.networking.k8s.io", "v1", "gateways")
EVENT = Kind("Event", "events.k8s.io", "v1", "events")

# What a resource owns directly, and the operator watches.
CHILDREN = (DEPLOYMENT, SERVICE, AUTOSCALER, BUDGET, ROUTE, NETWORK_POLICY)
# What it owns too, but is not watched: that would take the right to read everybody's. These are
# looked up by name, in each reconcile that expects one.
UNWATCHED_CHILDREN = (CONFIG_MAP,)
BY_NAME = {kind.kind: kind for kind in (*CHILDREN, *UNWATCHED_CHILDREN, POD, RESOURCE)}
