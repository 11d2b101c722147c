"""The kind cluster itself: its configuration, creation and removal."""

from __future__ import annotations

import json
import socket
from typing import Any

from .engine import Engine
from .errors import ClusterError
from .files import fingerprint, new_file, write_atomically
from .kubectl import Kubectl
from .settings import GATEWAY_NODE_PORT, MLFLOW_NODE_PORT, PROJECT, Settings
from .shell import attempt, capture, run

# A network of our own, so that other kind clusters on the same engine are not touched.
NETWORK = PROJECT
HPA_SYNC_PERIOD = "5s"

LIST_IMAGES = ("ctr", "--namespace=k8s.io", "images", "list")
# As `kind load docker-image` does, but without a file between the two: half the time.
COPY_IMAGES = """set -o pipefail
docker save "$@" | docker exec --interactive --privileged "$0" ctr --namespace=k8s.io \\
  images import --local --all-platforms --digests --snapshotter=overlayfs -
"""

# What the cluster was made from is noted in it: so a run can tell whether it is the one wanted.
NOTE_NAMESPACE = "kube-public"
NOTE = f"{PROJECT}-cluster"


def cluster_config(settings: Settings, image: str, *, own_network_plugin: bool) -> dict[str, Any]:
    """Describe the cluster to kind."""
    control_plane = {
        "role": "control-plane",
        "image": image,
        "extraPortMappings": [
            _port_mapping(GATEWAY_NODE_PORT, settings.gateway_port),
            _port_mapping(MLFLOW_NODE_PORT, settings.mlflow_port),
        ],
    }
    workers = [{"role": "worker", "image": image}] * (settings.nodes - 1)
    return {
        "kind": "Cluster",
        "apiVersion": "kind.x-k8s.io/v1alpha4",
        "networking": {"disableDefaultCNI": own_network_plugin},
        "kubeadmConfigPatches": [json.dumps(patch) for patch in _kubeadm_patches()],
        "nodes": [control_plane, *workers],
    }


def _port_mapping(inside: int, outside: int) -> dict[str, Any]:
    return {"containerPort": inside, "hostPort": outside, "listenAddress": "127.0.0.1"}


def _kubeadm_patches() -> list[dict[str, Any]]:
    # A patch replaces kind's own list of arguments, so kind's argument is repeated.
    arguments = {
        "enable-hostpath-provisioner": "true",
        "horizontal-pod-autoscaler-sync-period": HPA_SYNC_PERIOD,
    }
    extra = [{"name": name, "value": value} for name, value in arguments.items()]
    return [
        {"kind": "ClusterConfiguration", "controllerManager": {"extraArgs": extra}},
        {"kind": "KubeletConfiguration", "failCgroupV1": False},
    ]


def config_fingerprint(config: dict[str, Any]) -> str:
    """Name a configuration shortly."""
    return fingerprint(json.dumps(config, sort_keys=True))


def cluster_exists(settings: Settings, engine: Engine) -> bool:
    """Say whether kind knows the cluster, whole or in pieces."""
    listed = capture(_kind(settings), "get", "clusters", env=_env(engine))
    return settings.cluster_name in listed.splitlines()


def noted_fingerprint(settings: Settings, engine: Engine) -> str | None:
    """Return what the running cluster was made from; None if it is unfinished or silent."""
    _fetch_kubeconfig(settings, engine)
    kubectl = Kubectl(settings)
    note = kubectl.attempt(
        *("get", "configmap", NOTE, f"--namespace={NOTE_NAMESPACE}", "--request-timeout=10s"),
        "--output=jsonpath={.data.config}",
    )
    return note.stdout.strip() if note.returncode == 0 else None


def create_cluster(settings: Settings, engine: Engine, config: dict[str, Any]) -> None:
    """Create the cluster; its nodes are not ready before they have a network."""
    path = settings.state / "kind.json"
    write_atomically(path, json.dumps(config, indent=2) + "\n")
    run(
        *(_kind(settings), "create", "cluster", f"--name={settings.cluster_name}"),
        *(f"--config={path}", f"--kubeconfig={settings.kubeconfig}", "--wait=0s"),
        log="kind",
        env=_env(engine),
    )


def note_fingerprint(settings: Settings, value: str) -> None:
    """Note in the cluster what it was made from, once it is complete."""
    note = {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": NOTE, "namespace": NOTE_NAMESPACE},
        "data": {"config": value},
    }
    Kubectl(settings).apply(json.dumps(note))


def delete_cluster(settings: Settings, engine: Engine) -> None:
    """Remove the cluster, and any part of it that an interrupted run left."""
    run(
        *(_kind(settings), "delete", "cluster", f"--name={settings.cluster_name}"),
        f"--kubeconfig={settings.kubeconfig}",
        log="kind",
        env=_env(engine),
    )


def delete_network(engine: Engine) -> None:
    """Remove the network that our clusters were on."""
    attempt("docker", "network", "rm", NETWORK, env=engine.env)


def load_images(settings: Settings, engine: Engine, images: list[str]) -> None:
    """Copy images from the engine into the nodes that don't have them yet."""
    ids = {image: _image_id(image, engine) for image in images}
    for node in _nodes(settings, engine):
        there = digests(capture("docker", "exec", node, *LIST_IMAGES, env=engine.env))
        missing = [image for image in images if not has_image(there, image, ids[image])]
        if missing:
            run("bash", "-c", COPY_IMAGES, node, *missing, log="kind", env=engine.env)


def digests(listed: str) -> dict[str, str]:
    """Read what containerd lists: the digest that each name stands for."""
    rows = (line.split() for line in listed.splitlines()[1:])
    return {row[0]: row[2] for row in rows if len(row) > 2}


def has_image(there: dict[str, str], image: str, image_id: str) -> bool:
    """Say whether a node has this very image by this name: it lists images by their ID as well."""
    named = there.get(f"docker.io/{image}")
    return named is not None and named == there.get(image_id)


def _image_id(image: str, engine: Engine) -> str:
    return capture("docker", "image", "inspect", "--format={{.Id}}", image, env=engine.env)


def _fetch_kubeconfig(settings: Settings, engine: Engine) -> None:
    command = (_kind(settings), "get", "kubeconfig", f"--name={settings.cluster_name}")
    result = attempt(*command, env=_env(engine), timeout=20)
    if result.returncode == 0:
        with new_file(settings.kubeconfig) as draft:
            draft.write_text(result.stdout)
            draft.chmod(0o600)


def _nodes(settings: Settings, engine: Engine) -> list[str]:
    command = (_kind(settings), "get", "nodes", f"--name={settings.cluster_name}")
    return capture(*command, env=_env(engine)).splitlines()


def _kind(settings: Settings) -> str:
    return str(settings.bin / "kind")


def _env(engine: Engine) -> dict[str, str]:
    return {**engine.env, "KIND_EXPERIMENTAL_DOCKER_NETWORK": NETWORK}


def require_free_ports(settings: Settings, engine: Engine) -> None:
    """Check that the host's ports are free, or held by the cluster that is about to be replaced."""
    published = attempt(
        *("docker", "port", f"{settings.cluster_name}-control-plane"), env=engine.env
    ).stdout
    held = {int(line.rpartition(":")[2]) for line in published.splitlines()}
    for variable, port in (
        ("GATEWAY_PORT", settings.gateway_port),
        ("MLFLOW_PORT", settings.mlflow_port),
    ):
        if port not in held and not _is_free(port):
            raise ClusterError(f"Port {port} on 127.0.0.1 is in use; set {variable} to a free one.")


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True
