"""Leadership by a `coordination.k8s.io/v1` Lease: one process works, the others stand by.

The rules and times are those of Kubernetes' own controllers (client-go's leaderelection). The
client library's `kubernetes.aio.leaderelection` is not used: there a request that hangs outlives
the lease, a refused connection ends the candidate, and cancelling neither stops the work nor
releases the lease.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import aiohttp
from kubernetes.aio.client import (
    ApiClient,
    ApiException,
    CoordinationV1Api,
    V1Lease,
    V1LeaseSpec,
    V1ObjectMeta,
)

from mlflow_model_operator.api import names
from mlflow_model_operator.settings import Settings

log = logging.getLogger(__name__)

REQUEST_ERRORS = (ApiException, aiohttp.ClientError, TimeoutError, OSError)


@dataclass(frozen=True)
class Timing:
    """Seconds. A leader stops before others may start: `deadline` is less than `duration`."""

    duration: int = 15  # others wait so long after the last renewal that they have observed
    deadline: float = 10.0  # a leader that could not renew for so long stops
    retry: float = 2.0  # between tries to take or to renew

    @property
    def request(self) -> float:
        """A hanging request must leave time for another try."""
        return self.deadline / 2

    @property
    def grace(self) -> float:
        """What is left to stop in, once the deadline has passed."""
        return self.duration - self.deadline


class LeadershipLost(Exception):
    """The lease could not be kept; the work was stopped. The process should end and start anew."""


async def lead(
    api_client: ApiClient,
    settings: Settings,
    run: Callable[[], Awaitable[None]],
    timing: Timing | None = None,
    on_leader: Callable[[str | None], None] = lambda _: None,
) -> None:
    """Waits for the lease that `settings` name, then runs `run` while holding it.

    Ends when `run` ends, and then, or when cancelled, releases the lease, so that another takes
    over at once. Raises LeadershipLost, with `run` cancelled, where the lease could not be
    renewed. Without a lease's name it only runs `run`. `settings.identity` must be unique among
    the candidates, like a pod's name. While another leads, `on_leader` gets the address at which
    that receives webhooks.
    """
    if settings.lease_name is None:
        await run()
        return
    lease = _Lease(api_client, settings, timing or Timing(), on_leader)
    try:
        await lease.acquire()
        await _run_while_held(run, lease)
    finally:
        await lease.release()


async def _run_while_held(run: Callable[[], Awaitable[None]], lease: _Lease) -> None:
    work = asyncio.ensure_future(run())
    renewing = asyncio.create_task(lease.renew())
    try:
        await asyncio.wait({work, renewing}, return_when=asyncio.FIRST_COMPLETED)
    finally:
        # The lease is renewed until the work has ended, for nothing may act without it.
        await _stop(work, lease.timing.grace)
        renewing.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await renewing
    await work


async def _stop(work: asyncio.Future[None], grace: float) -> None:
    work.cancel()
    await asyncio.wait({work}, timeout=grace)
    if not work.done():
        log.critical("the operator did not stop within %g s: exiting before another starts", grace)
        os._exit(1)


class _Lease:
    """The Lease object, as one candidate sees it."""

    def __init__(
        self,
        api_client: ApiClient,
        settings: Settings,
        timing: Timing,
        on_leader: Callable[[str | None], None],
    ) -> None:
        self.timing = timing
        self._on_leader = on_leader
        self._address = settings.webhooks.address if settings.webhooks else None
        self._api = CoordinationV1Api(api_client)
        self._name = settings.lease_name
        self._namespace = settings.lease_namespace
        self._identity = settings.identity
        self._written: Any = None  # the lease as last written by us, if that was the last request
        self._observed: tuple[Any, ...] = ()  # what another holder wrote last,
        self._observed_at = 0.0  # and when we saw it, by our own clock

    def __str__(self) -> str:
        return f"lease {self._namespace}/{self._name}"

    async def acquire(self) -> None:
        """Returns when the lease is ours."""
        reported: str | None = None
        while True:
            try:
                holder = await self._try_acquire_or_renew()
            except REQUEST_ERRORS as error:
                log.warning("failed to acquire %s: %s", self, _short(error))
            else:
                if holder == self._identity:
                    log.info("acquired %s as %s", self, holder)
                    return
                if holder != reported:
                    log.info("waiting for %s, which is held by %s", self, holder)
                    reported = holder
            await asyncio.sleep(self.timing.retry)

    async def renew(self) -> None:
        """Renews the lease until that fails; raises LeadershipLost."""
        clock = asyncio.get_running_loop().time
        renewed = clock()
        while True:
            await asyncio.sleep(self.timing.retry)
            started = clock()
            try:
                async with asyncio.timeout_at(renewed + self.timing.deadline):
                    holder = await self._try_acquire_or_renew()
            except REQUEST_ERRORS as error:
                log.warning("failed to renew %s: %s", self, _short(error))
                if clock() >= renewed + self.timing.deadline:
                    raise LeadershipLost(
                        f"{self} could not be renewed for {self.timing.deadline:g} s"
                    ) from error
                continue
            if holder != self._identity:
                raise LeadershipLost(f"{self} was acquired by {holder}")
            renewed = started

    async def release(self) -> None:
        """Gives the lease up if it is ours, as far as that is possible now."""
        try:
            async with asyncio.timeout(self.timing.retry):
                lease = await self._read()
                if lease is None or lease.spec.holder_identity != self._identity:
                    return
                lease.spec.holder_identity = ""
                lease.spec.lease_duration_seconds = 1
                await self._write(lease)
                log.info("released %s", self)
        except REQUEST_ERRORS as error:
            log.warning("failed to release %s, which will expire: %s", self, _short(error))

    async def _try_acquire_or_renew(self) -> str:
        """Takes or renews the lease if it is ours or free; returns who holds it now."""
        async with asyncio.timeout(self.timing.request):
            lease, self._written = self._written, None
            lease = lease or await self._read() or self._new()
            if not self._may_acquire(lease):
                self._on_leader((lease.metadata.annotations or {}).get(names.WEBHOOK_ADDRESS))
                return str(lease.spec.holder_identity)
            try:
                self._written = await self._write(self._claimed(lease))
            except ApiException as error:
                if error.status != 409:
                    raise
                return await self._try_acquire_or_renew()  # somebody was quicker: see who
            return self._identity

    def _may_acquire(self, lease: Any) -> bool:
        """Nodes' clocks differ: a lease's age is the time since we saw that it had changed."""
        spec = lease.spec
        if spec.holder_identity in (None, "", self._identity):
            return True
        now = asyncio.get_running_loop().time()
        record = (spec.holder_identity, spec.renew_time, spec.lease_transitions)
        if record != self._observed:
            self._observed, self._observed_at = record, now
        return now >= self._observed_at + (spec.lease_duration_seconds or self.timing.duration)

    def _new(self) -> Any:
        metadata = V1ObjectMeta(name=self._name, namespace=self._namespace)
        # Its first holder is no transition.
        return V1Lease(metadata=metadata, spec=V1LeaseSpec(lease_transitions=-1))

    def _claimed(self, lease: Any) -> Any:
        spec, now = lease.spec, datetime.now(UTC)
        if spec.holder_identity != self._identity:
            spec.holder_identity = self._identity
            spec.acquire_time = now
            spec.lease_transitions = (spec.lease_transitions or 0) + 1
        spec.lease_duration_seconds = self.timing.duration
        spec.renew_time = now
        lease.metadata.annotations = self._annotations(lease)
        return lease

    def _annotations(self, lease: Any) -> dict[str, str]:
        """Those of others, and our address in place of the last holder's."""
        annotations = {**(lease.metadata.annotations or {})}
        annotations.pop(names.WEBHOOK_ADDRESS, None)
        own = {names.WEBHOOK_ADDRESS: self._address} if self._address else {}
        return annotations | own

    async def _read(self) -> Any:
        try:
            return await self._api.read_namespaced_lease(self._name, self._namespace)
        except ApiException as error:
            if error.status == 404:
                return None
            raise

    async def _write(self, lease: Any) -> Any:
        """Refused with 409 if somebody else has written since `lease` was read."""
        spec = lease.spec
        spec.acquire_time, spec.renew_time = map(_micro_time, (spec.acquire_time, spec.renew_time))
        if lease.metadata.resource_version is None:
            return await self._api.create_namespaced_lease(self._namespace, lease)
        return await self._api.replace_namespaced_lease(self._name, self._namespace, lease)


def _micro_time(time: datetime | None) -> str | None:
    """Kubernetes' MicroTime wants six digits, even where they are zeros."""
    return time.isoformat(timespec="microseconds") if time else None


def _short(error: Exception) -> str:
    if isinstance(error, ApiException):
        return f"{error.status} {error.reason}"
    return f"{type(error).__name__} {error}".strip()
