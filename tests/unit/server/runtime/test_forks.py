"""Processes that a model forks end by SIGTERM, whatever the server does with that."""

from __future__ import annotations

import subprocess
import sys

ROUNDS = 50
SECONDS = 60  # it takes about one

# A server as far as it matters: a loop and handlers in the main thread, a model in another.
PROGRAM = f"""\
import asyncio, multiprocessing, signal, threading
from operator import neg

import uvloop

from mlflow_model_server.runtime import forks

received = []
for number in (signal.SIGTERM, signal.SIGINT):
    signal.signal(number, lambda *_: received.append(1))
forks.reset_signals()


def predict():
    for _ in range({ROUNDS}):
        with multiprocessing.Pool(2) as pool:
            assert pool.map(neg, [1, 2]) == [-1, -2]
    signal.raise_signal(signal.SIGTERM)


async def serve():
    while thread.is_alive():
        await asyncio.sleep(0.01)
    return received


thread = threading.Thread(target=predict, daemon=True)
thread.start()
print(uvloop.new_event_loop().run_until_complete(serve()))
"""


def test_pools_end() -> None:
    ran = subprocess.run(
        [sys.executable, "-c", PROGRAM], capture_output=True, text=True, timeout=SECONDS
    )
    assert ran.stdout == "[1]\n", ran.stderr
