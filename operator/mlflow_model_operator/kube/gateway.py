"""What a Gateway (Gateway API) states, and whether its controller serves it. Pure.

The only reader of a Gateway: https://gateway-api.sigs.k8s.io/reference/spec/#gateway.
"""

from __future__ import annotations

from dataclasses import dataclass

from mlflow_model_operator.kube.objects import (
    KubeObject,
    find_condition,
    generation_of,
    is_true,
)

_SCHEMES = {"HTTPS": "https", "HTTP": "http"}  # the preferred one first
_DEFAULT_PORTS = {"http": 80, "https": 443}


@dataclass(frozen=True)
class Listener:
    """An address that a Gateway listens at."""

    scheme: str
    port: int
    hostname: str  # "" is any, and may begin with "*."

    def serves(self, hostname: str) -> bool:
        """Whether requests for `hostname` are its."""
        if self.hostname.startswith("*."):
            return hostname.endswith(self.hostname[1:])
        return self.hostname in ("", hostname)

    def url(self, hostname: str) -> str:
        """Where requests for `hostname` go, without a path."""
        port = "" if self.port == _DEFAULT_PORTS[self.scheme] else f":{self.port}"
        return f"{self.scheme}://{hostname}{port}"


@dataclass(frozen=True)
class GatewayState:
    """A Gateway as it was when it was looked up."""

    exists: bool = True
    class_name: str = ""
    obstacle: str | None = ""  # why it serves nothing yet; None where it does, "" without a reason
    listeners: tuple[Listener, ...] = ()

    @property
    def is_programmed(self) -> bool:
        """Whether its controller has set it up as it stands."""
        return self.exists and self.obstacle is None

    def url(self, hostname: str) -> str | None:
        """Where requests for `hostname` go, over HTTPS if possible; None where it has no such."""
        matching = [listener for listener in self.listeners if listener.serves(hostname)]
        order = list(_SCHEMES.values())
        matching.sort(key=lambda listener: order.index(listener.scheme))
        return matching[0].url(hostname) if matching else None


ABSENT = GatewayState(exists=False)


def gateway_state(gateway: KubeObject | None) -> GatewayState:
    """Reads a Gateway, or its absence."""
    if gateway is None:
        return ABSENT
    spec = gateway.get("spec") or {}
    return GatewayState(
        class_name=spec.get("gatewayClassName") or "",
        obstacle=_obstacle(gateway),
        listeners=tuple(
            Listener(_SCHEMES[entry["protocol"]], entry["port"], entry.get("hostname") or "")
            for entry in spec.get("listeners") or ()
            if entry.get("protocol") in _SCHEMES
        ),
    )


def _obstacle(gateway: KubeObject) -> str | None:
    """Why the Gateway is not programmed as it stands; None where it is.

    What is said of an older generation does not count: its class may have changed since, and then
    its former controller says no more.
    """
    condition = find_condition(gateway, "Programmed")
    if condition is None or condition.get("observedGeneration") != generation_of(gateway):
        return ""
    return None if is_true(condition) else str(condition.get("message") or "")
