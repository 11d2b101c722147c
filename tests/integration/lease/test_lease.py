"""Leadership, on a real API server: never two leaders, and soon another where the first is gone."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from kubernetes.aio.client import ApiClient

from mlflow_model_operator import leader_election
from mlflow_model_operator.api import names
from mlflow_model_operator.kube import client
from mlflow_model_operator.leader_election import LeadershipLost
from mlflow_model_operator.settings import Settings, WebhookSettings
from tests.integration.control_plane import REPOSITORY, ApiServer
from tests.integration.lease import candidate
from tests.integration.lease.candidate import LEASE, timing

WITHIN = 20.0  # seconds; a machine that is busy with other tests is slow
SHORT = 3  # seconds that a lease lasts, where its end is waited for
LONG = 600  # where it must be released, for nobody waits so long
RETRY = timing(SHORT).retry


@dataclass
class Candidate:
    """A candidate in this process."""

    name: str
    task: asyncio.Task[None]
    leads: asyncio.Event = field(default_factory=asyncio.Event)
    finish: asyncio.Event = field(default_factory=asyncio.Event)

    async def ended(self) -> None:
        """Waits for its end; raises what it raised."""
        async with asyncio.timeout(WITHIN):
            await self.task


@dataclass
class Candidates:
    """Makes candidates for one lease, and sees that no two of them work at the same time."""

    server: ApiServer
    namespace: str
    stack: contextlib.AsyncExitStack
    working: set[str] = field(default_factory=set)

    async def start(self, name: str, duration: int = SHORT, url: str | None = None) -> Candidate:
        api_client = await self.connect()
        if url:
            api_client.configuration.host = url
        settings = Settings(lease_name=LEASE, lease_namespace=self.namespace, identity=name)
        participant: Candidate

        async def run() -> None:
            assert not self.working, f"{name} works while {self.working} does"
            self.working.add(name)
            participant.leads.set()
            try:
                await participant.finish.wait()
            finally:
                self.working.discard(name)

        work = leader_election.lead(api_client, settings, run, timing(duration))
        participant = Candidate(name, asyncio.create_task(work))
        self.stack.push_async_callback(_cancel, participant.task)
        return participant

    async def connect(self) -> ApiClient:
        api_client = await client.connect(str(self.server.kubeconfig))
        self.stack.push_async_callback(api_client.close)
        return api_client

    def give_to(self, name: str) -> None:
        """Has somebody take the lease without asking."""
        claim, content_type = {"spec": {"holderIdentity": name}}, "application/merge-patch+json"
        self.server.request("PATCH", self.path, claim, content_type).raise_for_status()

    def spec(self) -> dict[str, Any]:
        response = self.server.request("GET", self.path)
        response.raise_for_status()
        spec: dict[str, Any] = response.json()["spec"]
        return spec

    def annotations(self) -> dict[str, str]:
        response = self.server.request("GET", self.path)
        response.raise_for_status()
        annotations: dict[str, str] = response.json()["metadata"]["annotations"]
        return annotations

    @property
    def path(self) -> str:
        return f"/apis/coordination.k8s.io/v1/namespaces/{self.namespace}/leases/{LEASE}"


async def _cancel(task: asyncio.Task[None]) -> None:
    task.cancel()
    await asyncio.wait({task})


@pytest.fixture
async def candidates(api_server: ApiServer, namespace: str) -> AsyncIterator[Candidates]:
    async with contextlib.AsyncExitStack() as stack:
        yield Candidates(api_server, namespace, stack)


async def soon(event: Awaitable[Any], message: str) -> None:
    try:
        async with asyncio.timeout(WITHIN):
            await event
    except TimeoutError:
        pytest.fail(f"Waited {WITHIN:g} s until {message}.")


async def stands_by(participant: Candidate, times: int = 3) -> None:
    """Returns after so many of its tries, in which it must not have come to lead."""
    with contextlib.suppress(TimeoutError):
        await asyncio.wait_for(participant.leads.wait(), times * RETRY)
    assert not participant.leads.is_set(), f"{participant.name} leads too"


async def test_a_candidate_leads_and_the_other_stands_by(candidates: Candidates) -> None:
    first = await candidates.start("first")
    await soon(first.leads.wait(), "the first leads")
    second = await candidates.start("second")

    await stands_by(second)
    spec = candidates.spec()
    assert (spec["holderIdentity"], spec["leaseTransitions"]) == ("first", 0)


async def test_a_leader_keeps_the_lease_longer_than_it_lasts(candidates: Candidates) -> None:
    first = await candidates.start("first")
    await soon(first.leads.wait(), "the first leads")
    before = candidates.spec()
    second = await candidates.start("second")

    await stands_by(second, times=int(2 * SHORT / RETRY))
    after = candidates.spec()
    assert after["holderIdentity"] == "first"
    assert after["acquireTime"] == before["acquireTime"]
    assert after["renewTime"] > before["renewTime"]


async def test_a_standby_learns_where_the_leader_receives_webhooks(candidates: Candidates) -> None:
    addresses: dict[str, str | None] = {}
    leads = {"first": asyncio.Event(), "second": asyncio.Event()}

    async def candidate(name: str, address: str) -> asyncio.Task[None]:
        settings = Settings(
            lease_name=LEASE,
            lease_namespace=candidates.namespace,
            identity=name,
            webhooks=WebhookSettings(8090, Path("/keys"), address),
        )

        async def run() -> None:
            leads[name].set()
            await asyncio.Event().wait()

        work = leader_election.lead(
            await candidates.connect(),
            settings,
            run,
            timing(LONG),
            on_leader=lambda address: addresses.update({name: address}),
        )
        task = asyncio.create_task(work)
        candidates.stack.push_async_callback(_cancel, task)
        return task

    first = await candidate("first", "10.0.0.1:8090")
    await soon(leads["first"].wait(), "the first leads")
    await candidate("second", "10.0.0.2:8090")
    async with asyncio.timeout(WITHIN):
        while addresses.get("second") is None:
            await asyncio.sleep(0.05)
    assert addresses == {"second": "10.0.0.1:8090"}

    await _cancel(first)
    await soon(leads["second"].wait(), "the second leads")
    assert candidates.annotations() == {names.WEBHOOK_ADDRESS: "10.0.0.2:8090"}


async def test_a_leader_that_ends_is_followed_at_once(candidates: Candidates) -> None:
    first = await candidates.start("first", LONG)
    await soon(first.leads.wait(), "the first leads")
    second = await candidates.start("second", LONG)
    await stands_by(second)

    first.finish.set()
    await first.ended()

    await soon(second.leads.wait(), "the second leads")
    spec = candidates.spec()
    assert (spec["holderIdentity"], spec["leaseTransitions"]) == ("second", 1)


async def test_a_cancelled_leader_ends_its_work_and_then_releases(candidates: Candidates) -> None:
    first = await candidates.start("first")
    await soon(first.leads.wait(), "the first leads")

    first.task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await first.ended()

    assert candidates.working == set()
    assert candidates.spec().get("holderIdentity", "") == ""


async def test_a_cancelled_standby_leaves_the_lease_alone(candidates: Candidates) -> None:
    first = await candidates.start("first")
    await soon(first.leads.wait(), "the first leads")
    second = await candidates.start("second")
    await stands_by(second)

    second.task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await second.ended()

    assert candidates.spec()["holderIdentity"] == "first"


async def test_a_leader_whose_work_fails_releases_and_raises(candidates: Candidates) -> None:
    settings = Settings(lease_name=LEASE, lease_namespace=candidates.namespace, identity="first")

    async def run() -> None:
        raise RuntimeError("the work failed")

    with pytest.raises(RuntimeError, match="the work failed"):
        await leader_election.lead(await candidates.connect(), settings, run, timing(SHORT))

    assert candidates.spec().get("holderIdentity", "") == ""


async def test_a_leader_stops_when_somebody_takes_the_lease(candidates: Candidates) -> None:
    first = await candidates.start("first")
    await soon(first.leads.wait(), "the first leads")

    candidates.give_to("somebody")

    with pytest.raises(LeadershipLost, match=r"was acquired by somebody"):
        await first.ended()
    assert candidates.working == set()
    assert candidates.spec()["holderIdentity"] == "somebody"


async def test_work_that_cannot_be_stopped_ends_with_its_process(candidates: Candidates) -> None:
    process = await started(candidates, "first", SHORT, "stubborn")

    candidates.give_to("somebody")

    async with asyncio.timeout(WITHIN):
        assert await process.wait() == 1


async def test_a_deleted_lease_is_made_anew(candidates: Candidates) -> None:
    first = await candidates.start("first")
    await soon(first.leads.wait(), "the first leads")

    candidates.server.request("DELETE", candidates.path).raise_for_status()

    async def is_back() -> None:
        while not candidates.server.request("GET", candidates.path).ok:
            await asyncio.sleep(0.05)

    await soon(is_back(), "the lease is there again")
    assert candidates.spec()["holderIdentity"] == "first"
    assert candidates.working == {"first"}


async def test_a_leader_that_is_cut_off_stops_before_another_starts(
    candidates: Candidates,
) -> None:
    async with cut(candidates.server.url) as (url, silence):
        first = await candidates.start("first", url=url)
        await soon(first.leads.wait(), "the first leads")
        second = await candidates.start("second")
        await stands_by(second)

        silence()  # connections stay open, and nobody answers
        with pytest.raises(LeadershipLost, match="could not be renewed for 2 s"):
            await first.ended()

        assert not second.leads.is_set()
        await soon(second.leads.wait(), "the second leads")


async def test_a_killed_leader_is_followed_when_the_lease_has_expired(
    candidates: Candidates,
) -> None:
    process = await started(candidates)
    second = await candidates.start("second")
    await stands_by(second)

    process.kill()
    await process.wait()

    await soon(second.leads.wait(), "the second leads")
    assert candidates.spec()["leaseTransitions"] == 1


async def test_a_restarted_container_goes_on_with_its_own_lease(candidates: Candidates) -> None:
    process = await started(candidates, "the-pod", LONG)
    process.kill()
    await process.wait()

    again = await candidates.start("the-pod", LONG)

    await soon(again.leads.wait(), "it leads again")


async def test_sigterm_releases_the_lease(candidates: Candidates) -> None:
    process = await started(candidates)

    process.send_signal(signal.SIGTERM)

    assert await process.wait() == 0
    assert candidates.spec().get("holderIdentity", "") == ""


async def test_without_a_lease_the_work_just_runs(candidates: Candidates) -> None:
    done: list[bool] = []

    async def run() -> None:
        done.append(True)

    await leader_election.lead(await candidates.connect(), Settings(), run)

    assert done == [True]


async def started(
    candidates: Candidates, name: str = "first", duration: int = SHORT, *manner: str
) -> asyncio.subprocess.Process:
    """A candidate in a process of its own, once it leads."""
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        candidate.__file__,
        candidates.server.kubeconfig,
        candidates.namespace,
        name,
        str(duration),
        *manner,
        stdout=asyncio.subprocess.PIPE,
        env={"PYTHONPATH": str(REPOSITORY / "operator")},
    )
    candidates.stack.push_async_callback(_end, process)
    assert process.stdout
    async with asyncio.timeout(2 * WITHIN):
        assert await process.stdout.readline() == b"leading\n"
    return process


async def _end(process: asyncio.subprocess.Process) -> None:
    if process.returncode is None:
        process.kill()
        await process.wait()


@contextlib.asynccontextmanager
async def cut(url: str) -> AsyncIterator[tuple[str, Callable[[], None]]]:
    """A way to `url` that can be made to swallow everything."""
    target = urlsplit(url)
    is_silent = asyncio.Event()
    pipes: set[asyncio.Task[None]] = set()

    async def pipe(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.closing(writer), contextlib.suppress(ConnectionError):
            while data := await reader.read(65536):
                if not is_silent.is_set():
                    writer.write(data)

    async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        there = await asyncio.open_connection(target.hostname, target.port)
        pipes.add(asyncio.create_task(pipe(reader, there[1])))
        pipes.add(asyncio.create_task(pipe(there[0], writer)))

    proxy = await asyncio.start_server(connected, "127.0.0.1", 0)
    try:
        port = proxy.sockets[0].getsockname()[1]
        yield f"https://127.0.0.1:{port}", is_silent.set
    finally:
        proxy.close()
        for task in pipes:
            task.cancel()
        await asyncio.gather(*pipes, return_exceptions=True)
