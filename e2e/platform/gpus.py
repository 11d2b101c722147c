"""GPUs without a GPU: a node that says it has some. What schedules by it is real."""

from __future__ import annotations

from dev import kube

# What examples/gpu.yaml says.
RESOURCE, COUNT = "nvidia.com/gpu", 4
LABELS = {"nvidia.com/gpu.product": "NVIDIA-H200"}
RUNTIME_CLASS = "nvidia"


def bring_up_gpus() -> None:
    """The first node gets GPUs and their label, and the cluster a runtime class for them."""
    node = kube.get_all(kube.NODE)[0]["metadata"]["name"]
    kube.patch(kube.NODE, node, "", {"metadata": {"labels": LABELS}})
    amounts = {"capacity": {RESOURCE: str(COUNT)}, "allocatable": {RESOURCE: str(COUNT)}}
    kube.patch(kube.NODE, node, "", {"status": amounts}, subresource="status")
    # The handler that all containers have.
    kube.apply(
        {
            "apiVersion": "node.k8s.io/v1",
            "kind": "RuntimeClass",
            "metadata": {"name": RUNTIME_CLASS},
            "handler": "runc",
        }
    )
