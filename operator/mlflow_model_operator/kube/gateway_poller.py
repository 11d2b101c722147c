"""The Gateways that resources name: each is looked at now and then, however many resources use it.

They are not watched: that would need the right to list the Gateways of other namespaces.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import NoReturn

from mlflow_model_operator.api.resource import Key
from mlflow_model_operator.kube import kinds
from mlflow_model_operator.kube.client import ApiError, Cluster
from mlflow_model_operator.kube.gateway import GatewayState, gateway_state

log = logging.getLogger(__name__)

# After a change, and the longest interval: it doubles as long as nothing changes.
MIN_INTERVAL, MAX_INTERVAL = 5.0, 60.0  # seconds
FORBIDDEN = 403


@dataclass
class _Subscription:
    """A Gateway and the resources that name it."""

    keys: set[Key] = field(default_factory=set)
    state: GatewayState | None = None  # None: not known yet, or not to be known
    interval: float = 0.0
    due: float = 0.0


class GatewayPoller:
    """What the Gateways are; to be used from one event loop."""

    def __init__(self, cluster: Cluster, on_change: Callable[[Key], None]) -> None:
        """`on_change` is called with each resource whose Gateway has changed."""
        self._cluster = cluster
        self._on_change = on_change
        self._gateways: dict[Key, _Subscription] = {}
        self._by_resource: dict[Key, Key] = {}
        self._added = asyncio.Event()

    def subscribe(self, key: Key, gateway: Key | None) -> GatewayState | None:
        """What `gateway` is, as far as known; from now on the resource `key` follows it, alone."""
        if self._by_resource.get(key) != gateway:
            self.unsubscribe(key)
        if gateway is None:
            return None
        self._by_resource[key] = gateway
        if gateway not in self._gateways:
            self._gateways[gateway] = _Subscription()
            self._added.set()
        subscription = self._gateways[gateway]
        subscription.keys.add(key)
        return subscription.state

    def unsubscribe(self, key: Key) -> None:
        """The resource `key` follows no Gateway any more."""
        gateway = self._by_resource.pop(key, None)
        if gateway is None:
            return
        keys = self._gateways[gateway].keys
        keys.discard(key)
        if not keys:
            del self._gateways[gateway]

    async def run(self) -> NoReturn:
        """Looks at each Gateway when it is due, until cancelled."""
        while True:
            self._added.clear()
            now = asyncio.get_running_loop().time()
            for gateway, subscription in list(self._gateways.items()):
                if subscription.due <= now:
                    await self._poll(gateway, subscription)
            await self._sleep()

    async def _sleep(self) -> None:
        """Until the next Gateway is due, or another is named."""
        due = min((entry.due for entry in self._gateways.values()), default=None)
        timeout = None if due is None else max(due - asyncio.get_running_loop().time(), 0.0)
        try:
            await asyncio.wait_for(self._added.wait(), timeout)
        except TimeoutError:
            return

    async def _poll(self, gateway: Key, subscription: _Subscription) -> None:
        before = subscription.state
        try:
            gateway_object = await self._cluster.get(kinds.GATEWAY, gateway.namespace, gateway.name)
            subscription.state = gateway_state(gateway_object)
        except ApiError as error:
            if error.status == FORBIDDEN:  # in namespaced mode not each namespace is ours
                subscription.state = None
            log.debug("failed to look up Gateway %s: %s", gateway, error)
        has_changed = subscription.state != before
        longer = min(max(2 * subscription.interval, MIN_INTERVAL), MAX_INTERVAL)
        subscription.interval = MIN_INTERVAL if has_changed else longer
        subscription.due = asyncio.get_running_loop().time() + subscription.interval
        if has_changed:
            for key in list(subscription.keys):
                self._on_change(key)
