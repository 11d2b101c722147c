"""Which pods of two revisions can be read, and where. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from ipaddress import IPv6Address, ip_address

from mlflow_model_operator.api import names
from mlflow_model_operator.kube.objects import (
    KubeObject,
    find_condition,
    is_true,
    labels_of,
    name_of,
    status_of,
    uid_of,
)

MAX_PODS = 200  # of both revisions; of more, only these are read


@dataclass(frozen=True)
class PodAddress:
    """A pod that answers, or should."""

    uid: str
    name: str
    revision: str
    host: str  # as in a URL
    is_ready: bool


def addresses(pods: Iterable[KubeObject], revisions: Iterable[str]) -> list[PodAddress]:
    """The pods of these revisions that have an address, by name."""
    wanted = frozenset(revisions)
    present = [
        PodAddress(
            uid=uid_of(pod),
            name=name_of(pod),
            revision=labels_of(pod)[names.REVISION],
            host=host,
            is_ready=is_true(find_condition(pod, "Ready")),
        )
        for pod in pods
        if labels_of(pod).get(names.REVISION) in wanted and (host := _host(pod))
    ]
    return sorted(present, key=lambda pod: pod.name)


def _host(pod: KubeObject) -> str:
    """Its address as in a URL; "" where it has none, or has ended."""
    status = status_of(pod)
    if status.get("phase") != "Running":
        return ""
    try:
        address = ip_address(status.get("podIP") or "")
    except ValueError:
        return ""
    return f"[{address}]" if isinstance(address, IPv6Address) else str(address)
