"""The same load by gRPC: python -m benchmarks.scoring.load_grpc …, with a message in a file."""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
import time
from dataclasses import asdict
from pathlib import Path

import grpc
import uvloop

from benchmarks.scoring.load import SECONDS_TO_ANSWER, SECONDS_TO_WARM_UP, Measured

METHOD = "/inference.GRPCInferenceService/ModelInfer"


async def load(port: int, message: bytes, clients: int, seconds: float) -> Measured:
    """Keeps `clients` calls in flight for `seconds`, after a second that does not count.

    Raises AioRpcError if a call fails: then nothing is worth measuring.
    """
    begin = time.perf_counter() + SECONDS_TO_WARM_UP
    until = begin + seconds
    runs = await asyncio.gather(*(_client(port, message, until) for _ in range(clients)))
    done = [one for run in runs for one in run]
    times = [took for at, took in done if begin < at <= until]
    return Measured(len(times), seconds, times, len(done), 0)


async def _client(port: int, message: bytes, until: float) -> list[tuple[float, float]]:
    """When each call ended, and how long it took."""
    # A connection of its own for each client, as HTTP's have.
    options = [("grpc.use_local_subchannel_pool", 1), ("grpc.max_receive_message_length", -1)]
    done = []
    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}", options) as channel:
        call = channel.unary_unary(METHOD)
        while time.perf_counter() < until:
            sent = time.perf_counter()
            await call(message, timeout=SECONDS_TO_ANSWER)
            now = time.perf_counter()
            done.append((now, now - sent))
    return done


def main() -> None:
    """Prints what it measured as JSON."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.scoring.load_grpc")
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--body", type=Path, required=True, help="a file with the message to send")
    parser.add_argument("--clients", type=int, required=True)
    parser.add_argument("--seconds", type=float, required=True)
    given = parser.parse_args()
    run = load(given.port, given.body.read_bytes(), given.clients, given.seconds)
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        json.dump(asdict(runner.run(run)), sys.stdout)


if __name__ == "__main__":
    main()
