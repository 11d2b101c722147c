"""How much the largest bodies take, by format: python -m tests.attack.figures.

For each format the body that takes most, by itself and twelve at once, and the slowest answer to a
probe meanwhile, in a server with a limit of 2 GiB. It takes some minutes, on a machine that does
nothing else.
"""

from __future__ import annotations

import argparse
import logging
import tempfile
import warnings
from collections import defaultdict
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.attack.bombs import (
    BINARY,
    BOMBS,
    CHATS,
    CSV,
    GRPC,
    HALF,
    INFER,
    JSON,
    LARGEST,
    MIB,
    OF_AGENTS,
    PARQUET,
    Target,
    Watch,
    counting,
    of_chats,
)
from tests.integration.control_plane import free_port

ALL = LARGEST | BOMBS | {f"agent: {name}": (CHATS, JSON, make) for name, make in OF_AGENTS.items()}
AT_ONCE = 12
FIELDS = ("dataframe_split", "dataframe_records", "instances", "inputs")


@dataclass(frozen=True)
class Figure:
    """What some requests did."""

    name: str
    mebibytes: int
    slowest: float  # seconds, of a probe
    statuses: tuple[int, ...]


def format_of(name: str) -> str:
    """The format of a body."""
    path, content_type, make = ALL[name]
    if path == GRPC:
        return "gRPC"
    if path == CHATS:
        return "JSON, agents"
    if path == INFER:
        return "Open Inference, binary" if content_type == BINARY else "Open Inference, JSON"
    if content_type in (CSV, PARQUET):
        return "CSV" if content_type == CSV else "Parquet"
    head = make()[:200].decode("utf-8", "replace")
    return next((f"JSON, {field}" for field in FIELDS if f'"{field}"' in head), "JSON, none")


@contextmanager
def target(path: str) -> Iterator[Target]:
    """A new server: what one has kept for later counts for nobody else."""
    start = of_chats if path == CHATS else counting
    with (
        tempfile.TemporaryDirectory() as folder,
        start(Path(folder), free_port(), free_port()) as started,
    ):
        yield started


def measure(name: str, times: int) -> Figure:
    """So many requests at once, after one that has MLflow's code loaded."""
    path, content_type, make = ALL[name]
    body = make()
    with target(path) as started:
        started.send("/invocations", "application/json", b'{"inputs":[1]}')
        with Watch(started.server).running() as watch, ThreadPoolExecutor(times) as pool:
            sent = [pool.submit(started.send, path, content_type, body) for _ in range(times)]
            statuses = tuple(sorted({each.result() for each in sent}))
    return Figure(name, watch.peak // MIB, watch.slowest, statuses)


def main() -> None:
    """Prints a table."""
    parser = argparse.ArgumentParser(prog="python -m tests.attack.figures", description=__doc__)
    parser.add_argument("names", nargs="*", help="of bodies (default: all)")
    names = parser.parse_args().names or list(ALL)
    # Of saving the model, once for each server.
    logging.disable(logging.WARNING)
    warnings.simplefilter("ignore")
    by_format: dict[str, list[Figure]] = defaultdict(list)
    for name in names:
        figure = measure(name, 1)
        by_format[format_of(name)].append(figure)
        status = figure.statuses[0]
        print(f"{name}: {status}, {figure.mebibytes} MiB, /ping {figure.slowest:.2f} s", flush=True)
    print(f"\nLimit 2048 MiB, half of it {HALF // MIB} MiB.\n")
    print("| format | worst body | alone | slowest /ping | twelve at once | slowest /ping |")
    print("|---|---|---:|---:|---:|---:|")
    for name, figures in by_format.items():
        worst = max(figures, key=lambda figure: figure.mebibytes)
        many = measure(worst.name, AT_ONCE)
        slowest = max(figure.slowest for figure in figures)
        print(
            f"| {name} | {worst.name} | {worst.mebibytes} MiB | {slowest:.2f} s "
            f"| {many.mebibytes} MiB | {many.slowest:.2f} s |",
            flush=True,
        )


if __name__ == "__main__":
    main()
