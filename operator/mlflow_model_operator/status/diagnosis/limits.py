"""What the pods of a revision may use, by its own Deployment: the spec may have changed since."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from mlflow_model_operator.api import quantity
from mlflow_model_operator.api.contract import ACCESS_VOLUME, SERVER_CONTAINER
from mlflow_model_operator.api.resource import MLflowModelDeployment
from mlflow_model_operator.kube.objects import KubeObject

CA_VOLUME = "ca"
# What the names of our own volumes stand for in the spec.
_FIELDS = {CA_VOLUME: "spec.dependencies.caConfigMap", ACCESS_VOLUME: "spec.access.apiKeysSecret"}
# A startup probe fails so many seconds early or late: its period, and times that are rounded.
PROBE_TOLERANCE = 5.0


@dataclass(frozen=True)
class PodLimits:
    """The limits of a revision's pods, with the field of the spec that each comes from."""

    startup_timeout: float  # seconds; spec.server.startupTimeout
    shutdown_timeout: float  # seconds at most from SIGTERM to SIGKILL; spec.routing.timeout
    resources: dict[str, str]  # spec.server.resources.limits, and spec.gpu
    volumes: list[KubeObject]  # spec.pod.volumes, and those of _FIELDS

    @property
    def shortest_probe_kill(self) -> float:
        """The seconds that a container has run at least when its startup probe ends it."""
        return self.startup_timeout - PROBE_TOLERANCE

    @property
    def longest_probe_kill(self) -> float:
        """The same at most: a container that is told to end may finish its requests."""
        return self.shortest_probe_kill + 2 * self.shutdown_timeout + 60

    @property
    def required_config(self) -> list[str]:
        """The Secrets and ConfigMaps that the volumes can't do without, with their fields."""
        return [config for volume in self.volumes for config in _required_config(volume)]

    @property
    def requires_access_secret_alone(self) -> bool:
        """Whether the Secret with the API keys is the only one of those."""
        required = [volume["name"] for volume in self.volumes if any(_required_config(volume))]
        return required == [ACCESS_VOLUME]


def limits_of(deployment: KubeObject | None, resource: MLflowModelDeployment) -> PodLimits:
    """The limits that a revision's Deployment states; those of the spec where there is none yet."""
    stated = limits_of_spec(resource)
    pod = (deployment or {}).get("spec", {}).get("template", {}).get("spec", {})
    server = next((c for c in pod.get("containers", ()) if c["name"] == SERVER_CONTAINER), None)
    if server is None:
        return stated
    probe = server.get("startupProbe") or {}
    return PodLimits(
        startup_timeout=probe.get("periodSeconds", 0) * probe.get("failureThreshold", 0)
        or stated.startup_timeout,
        shutdown_timeout=pod.get("terminationGracePeriodSeconds") or stated.shutdown_timeout,
        resources=server.get("resources", {}).get("limits") or {},
        volumes=pod.get("volumes") or [],
    )


def limits_of_spec(resource: MLflowModelDeployment) -> PodLimits:
    """The limits that the present spec states."""
    spec = resource.spec
    gpus = {spec.gpu.resource: str(spec.gpu.count)} if spec.gpu else {}
    ca = spec.dependencies.ca_config_map
    source = {"configMap": {"name": ca.name, "items": [{"key": ca.key}]}} if ca else {}
    return PodLimits(
        startup_timeout=spec.server.startup_seconds,
        shutdown_timeout=quantity.seconds(spec.routing.timeout),
        resources={**spec.server.resources.limits, **gpus},
        volumes=[
            *([{"name": CA_VOLUME, **source}] if source else ()),
            *_access_volume(resource),
            *(volume.dump() for volume in spec.pod.volumes),
        ],
    )


def _access_volume(resource: MLflowModelDeployment) -> Iterator[KubeObject]:
    keys = resource.spec.access.api_keys_secret
    if keys is not None:
        yield {
            "name": ACCESS_VOLUME,
            "secret": {"secretName": keys.name, "items": [{"key": keys.key}]},
        }


def _required_config(volume: KubeObject) -> Iterator[str]:
    for kind, source, key in (
        ("ConfigMap", "configMap", "name"),
        ("Secret", "secret", "secretName"),
    ):
        part = volume.get(source)
        if isinstance(part, dict) and part.get(key) and not part.get("optional"):
            yield f"{kind} {part[key]} ({_field(volume['name'], part)})"


def _field(volume: str, source: KubeObject) -> str:
    if volume not in _FIELDS:
        return f"spec.pod.volumes, {volume}"
    keys = ", ".join(item["key"] for item in source.get("items", ()))
    return f"{_FIELDS[volume]}, key {keys}"
