"""A candidate as a process of its own: `candidate.py KUBECONFIG NAMESPACE IDENTITY DURATION`.

It prints "leading" when it leads, and runs until it is killed or gets SIGTERM. With `stubborn` as a
last argument, its work does not stop when it is cancelled.
"""

from __future__ import annotations

import asyncio
import signal
import sys

from mlflow_model_operator import leader_election
from mlflow_model_operator.kube import client
from mlflow_model_operator.settings import Settings

LEASE = "operator"


def timing(duration: int) -> leader_election.Timing:
    """A lease of so many seconds, in the proportions of the default but for the retries."""
    return leader_election.Timing(duration=duration, deadline=duration * 2 / 3, retry=0.3)


async def main(
    kubeconfig: str, namespace: str, identity: str, duration: str, manner: str = ""
) -> None:
    settings = Settings(lease_name=LEASE, lease_namespace=namespace, identity=identity)
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)

    async def run() -> None:
        print("leading", flush=True)
        while not stop.is_set():
            try:
                await stop.wait()
            except asyncio.CancelledError:
                if manner != "stubborn":
                    raise

    async with await client.connect(kubeconfig) as api_client:
        await leader_election.lead(api_client, settings, run, timing(int(duration)))


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
