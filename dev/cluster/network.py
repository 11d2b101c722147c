"""The pods' network where kind's own plugin can't be had: a bridge on each node, and routes."""

from __future__ import annotations

import json
import subprocess
import time
from dataclasses import dataclass
from typing import Any

from .engine import Engine
from .errors import ClusterError
from .kubectl import Kubectl
from .settings import Settings
from .shell import environment, run

CONFIG_PATH = "/etc/cni/net.d/10-bridge.conflist"
ADDRESS_SECONDS = 60


@dataclass(frozen=True)
class NodeNetwork:
    """Where a node is, and which addresses its pods get."""

    name: str
    address: str
    pods: str


def connect_nodes(settings: Settings, engine: Engine) -> None:
    """Give every node its bridge, and its routes to the pods of the others."""
    nodes = _wait_for_addresses(settings)
    for node in nodes:
        _write_conflist(engine, node)
        for other in nodes:
            if other != node:
                _route(engine, node, other)


def conflist(pods: str) -> dict[str, Any]:
    """Describe a node's pod network to its container runtime."""
    bridge = {
        "type": "bridge",
        "bridge": "cni0",
        "isGateway": True,
        "ipMasq": True,
        "hairpinMode": True,
        "ipam": {
            "type": "host-local",
            "ranges": [[{"subnet": pods}]],
            "routes": [{"dst": "0.0.0.0/0"}],
        },
    }
    ports = {"type": "portmap", "capabilities": {"portMappings": True}}
    return {"cniVersion": "1.0.0", "name": "pods", "plugins": [bridge, ports]}


def node_networks(nodes: list[dict[str, Any]]) -> list[NodeNetwork] | None:
    """Read the networks of nodes; None as long as one has no addresses for its pods."""
    found = []
    for node in nodes:
        addresses = {a["type"]: a["address"] for a in node["status"].get("addresses", [])}
        pods = node["spec"].get("podCIDR")
        if not pods or "InternalIP" not in addresses:
            return None
        found.append(NodeNetwork(node["metadata"]["name"], addresses["InternalIP"], pods))
    return found


def _wait_for_addresses(settings: Settings) -> list[NodeNetwork]:
    kubectl = Kubectl(settings)
    deadline = time.monotonic() + ADDRESS_SECONDS
    while time.monotonic() < deadline:
        found = node_networks(kubectl.get("nodes")["items"])
        if found and len(found) == settings.nodes:
            return found
        time.sleep(0.5)
    raise ClusterError(f"The nodes got no addresses for pods within {ADDRESS_SECONDS} s.")


def _write_conflist(engine: Engine, node: NodeNetwork) -> None:
    text = json.dumps(conflist(node.pods), indent=2)
    # Renamed into place: the runtime watches the folder and would read a half-written file.
    script = f"cat > {CONFIG_PATH}.draft && mv {CONFIG_PATH}.draft {CONFIG_PATH}"
    command = ["docker", "exec", "--interactive", node.name, "sh", "-c", script]
    subprocess.run(command, input=text, text=True, env=environment(engine.env), check=True)


def _route(engine: Engine, node: NodeNetwork, other: NodeNetwork) -> None:
    route = ("ip", "route", "replace", other.pods, "via", other.address)
    run("docker", "exec", node.name, *route, log="network", env=engine.env)
