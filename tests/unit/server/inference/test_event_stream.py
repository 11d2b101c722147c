"""Generators in threads, read in the event loop."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable

import pytest

from mlflow_model_server.inference.event_stream import EventStream, GeneratorFailed, Parts
from mlflow_model_server.inference.request import ClientGone, DeadlineExceeded


def started(generate: Callable[[], Parts]) -> tuple[EventStream, threading.Thread]:
    stream = EventStream()
    thread = threading.Thread(target=stream.run, args=(generate,), daemon=True)
    thread.start()
    return stream, thread


async def ended(thread: threading.Thread) -> None:
    await asyncio.to_thread(thread.join, 10)
    assert not thread.is_alive()


async def test_all_parts_come_in_order() -> None:
    def generate() -> Parts:
        for number in range(1000):
            yield b"%d" % number

    stream, _ = started(generate)
    parts = [await stream.next(10) for _ in range(1000)]
    assert parts == [b"%d" % number for number in range(1000)]
    assert await stream.next(10) is None


@pytest.mark.parametrize("error", [ValueError("no"), SystemExit(1), asyncio.CancelledError()])
async def test_whatever_it_raises_reaches_the_reader(error: BaseException) -> None:
    def generate() -> Parts:
        yield b"first"
        raise error

    stream, _ = started(generate)
    assert await stream.next(10) == b"first"
    with pytest.raises(GeneratorFailed) as failed:
        await stream.next(10)
    assert failed.value.error is error


async def test_it_waits_for_its_reader_and_is_closed_in_its_thread() -> None:
    closed: list[int] = []
    yielded = 0

    def generate() -> Parts:
        nonlocal yielded
        try:
            while True:
                yielded += 1
                yield b"x"
        finally:
            closed.append(threading.get_ident())

    stream, thread = started(generate)
    assert await stream.next(10) == b"x"
    await asyncio.sleep(0.3)
    assert yielded < 30
    stream.cancel()
    await ended(thread)
    assert closed == [thread.ident]


async def test_it_does_not_begin_once_it_is_cancelled() -> None:
    stream = EventStream()
    stream.cancel()
    stream.run(lambda: pytest.fail("it began"))


async def test_a_reader_waits_no_longer_than_it_says() -> None:
    go = threading.Event()

    def generate() -> Parts:
        go.wait(10)
        yield b"late"

    stream, _ = started(generate)
    began = time.monotonic()
    with pytest.raises(DeadlineExceeded):
        await stream.next(0.1)
    assert time.monotonic() - began < 5
    go.set()
    assert await stream.next(10) == b"late"


async def test_a_reader_can_be_interrupted() -> None:
    go = threading.Event()

    def generate() -> Parts:
        go.wait(10)
        yield b"late"

    stream, _ = started(generate)
    asyncio.get_running_loop().call_later(0.05, stream.interrupt, ClientGone())
    with pytest.raises(ClientGone):
        await stream.next(10)
    go.set()
