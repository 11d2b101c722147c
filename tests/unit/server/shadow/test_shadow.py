"""The queue of copies, what goes into it, and what is counted."""

from __future__ import annotations

import asyncio
import random
import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlflow_model_server.codecs.metadata import Spec
from mlflow_model_server.inference.service import InferenceService
from mlflow_model_server.metrics import shadow_memory
from mlflow_model_server.metrics.recorder import make_recorder
from mlflow_model_server.metrics.shadow_memory import ShadowMemory
from mlflow_model_server.metrics.shared_memory import SharedMemory
from mlflow_model_server.responses import Response
from mlflow_model_server.settings import Settings
from mlflow_model_server.shadow import frames, shadow
from mlflow_model_server.shadow.child import Child, ChildEnded
from mlflow_model_server.shadow.feeder import Feeder
from mlflow_model_server.shadow.frames import Copy
from mlflow_model_server.shadow.pace import CpuPace
from mlflow_model_server.shadow.shadow import CopyQueue, Shadow
from mlflow_model_server.shadow.target import TargetFile
from tests.unit.server.http.stub_server import StubPredictor

PARTS = st.binary(max_size=100)
GOOD = Response(200, b'{"predictions": []}')
SHADOW = b'{"revision": "wine-2", "url": "http://wine", "percent": %d}'


def copy_of(size: int) -> Copy:
    return Copy(b"/invocations", b"application/json", b"", b"x" * size, b"")


def test_the_queue_has_a_number_of_copies() -> None:
    queue = CopyQueue(100)
    for _ in range(shadow.MAX_QUEUED):
        assert queue.reserve(copy_of(10))
    assert not queue.reserve(copy_of(10))
    assert queue.dropped == 1


def test_the_queue_has_a_number_of_bytes() -> None:
    queue = CopyQueue(shadow.MAX_QUEUED_BYTES)
    assert queue.reserve(copy_of(shadow.MAX_QUEUED_BYTES // 2))
    assert not queue.reserve(copy_of(shadow.MAX_QUEUED_BYTES // 2))
    assert queue.reserve(copy_of(shadow.MAX_QUEUED_BYTES // 3))


def test_long_bodies_and_answers_are_not_copied() -> None:
    queue = CopyQueue(100)
    assert not queue.reserve(copy_of(101))
    assert not queue.reserve(copy_of(10)._replace(answer=b"x" * 101))
    assert queue.dropped == 2


@given(st.lists(st.integers(0, 200_000), max_size=400), st.randoms())
def test_whatever_is_added_is_taken_once_and_makes_room(
    sizes: list[int], chance: random.Random
) -> None:
    queue = CopyQueue(2**20)
    added, taken = 0, 0
    for size in sizes:
        if queue.reserve(copy := copy_of(size)):
            queue.add(copy)
            added += 1
        if chance.random() < 0.1:
            taken += len(queue.take())
    while queue:
        taken += len(queue.take())
    assert taken == added == len(sizes) - queue.dropped
    assert queue.reserve(copy_of(2**20))


def test_the_thread_is_woken_for_the_first_copy() -> None:
    queue = CopyQueue(100)
    assert [queue.add(copy_of(1)) for _ in range(3)] == [True, False, False]
    assert len(queue.take()) == 3
    assert queue.add(copy_of(1))


def test_a_ratio_of_requests_is_selected() -> None:
    draw = random.Random(7).random
    one_shadow = Shadow(threading.Event(), draw)
    assert not any(one_shadow.selects([]) for _ in range(1000))
    one_shadow.use(CopyQueue(100), 0.2)
    assert 1800 < sum(one_shadow.selects([]) for _ in range(10_000)) < 2200
    one_shadow.use(CopyQueue(100), 1.0)
    assert all(one_shadow.selects([]) for _ in range(1000))


def test_copies_are_never_selected() -> None:
    selecting = Shadow(threading.Event())
    selecting.use(CopyQueue(100), 1.0)
    assert not selecting.selects([(b"x-mlflow-shadow", b"")])


@pytest.mark.parametrize(
    ("response", "copies"),
    [
        (GOOD, 1),
        (GOOD._replace(status=400), 0),
        (GOOD._replace(status=503), 0),
        (GOOD._replace(content_type="application/octet-stream"), 0),
        (GOOD._replace(body=b"x" * 101), 0),
    ],
)
def test_good_answers_are_copied_after_they_were_given(response: Response, copies: int) -> None:
    woken, queue = threading.Event(), CopyQueue(100)
    copying = Shadow(woken)
    copying.use(queue, 1.0)
    given: list[tuple[Response | None, int]] = []
    respond = copying.copying(b"/invocations", [], b"{}", lambda r: given.append((r, len(queue))))
    respond(response)
    assert given == [(response, 0)]
    assert (len(queue), woken.is_set()) == (copies, copies == 1)


def test_what_goes_another_way_is_not_copied_here() -> None:
    queue = CopyQueue(100)
    copying = Shadow(threading.Event())
    copying.use(queue, 1.0)
    given: list[Response | None] = []
    copying.copying(b"/invocations", [], b"{}", given.append)(None)
    assert (given, len(queue)) == ([None], 0)


@given(st.lists(st.tuples(PARTS, PARTS, PARTS, PARTS, PARTS), min_size=1, max_size=5))
def test_frames_are_read_as_they_were_written(parts: list[tuple[bytes, ...]]) -> None:
    copies = [Copy(*each) for each in parts]

    async def read() -> list[Copy]:
        reader = asyncio.StreamReader()
        reader.feed_data(b"".join(copy.frame() for copy in copies))
        reader.feed_eof()
        received = [await frames.read(reader) for _ in copies]
        with pytest.raises(asyncio.IncompleteReadError):
            await frames.read(reader)
        return received

    assert asyncio.run(read()) == copies


def test_a_share_of_the_cpu_is_kept() -> None:
    now, used = 0.0, 0.0
    pace = CpuPace(0.1, lambda: used, lambda: now)
    assert pace.delay() == 0
    used = 0.05
    assert pace.delay() == pytest.approx(0.5)
    now = 0.5
    assert pace.delay() == 0
    now = 1000.0  # what was not used for long is not used at once
    pace.delay()
    used += 0.2
    assert pace.delay() == pytest.approx(1.0)


def test_another_target_counts_from_zero() -> None:
    memory = ShadowMemory(2)
    part = memory.part(1)
    part.begin("wine-2", "2")
    part.count(shadow_memory.OK, 0.1)
    part.begin("wine-2", "2")
    (_, counts) = memory.read()
    assert counts.numbers[shadow_memory.place_of(shadow_memory.OK)] == 1
    part.begin("wine-3", "3")
    (_, counts) = memory.read()
    assert (counts.revision, counts.version, sum(counts.numbers[1:])) == ("wine-3", "3", 0)
    part.end(shadow_memory.NONE)
    assert memory.read()[1].revision == ""


class StubChild:
    """Takes so many bytes, and then waits, or has ended."""

    pid = 7

    def __init__(self) -> None:
        self.room = 1 << 30
        self.received = b""
        self.has_ended = False
        self.has_been_ended = False

    def write(self, data: memoryview) -> int:
        if self.has_ended:
            raise ChildEnded
        length = min(self.room, len(data))
        self.room -= length
        self.received += data[:length]
        return length

    def end(self) -> None:
        self.has_been_ended = True


@pytest.fixture
def children() -> list[StubChild]:
    return []


@pytest.fixture
def memory() -> ShadowMemory:
    return ShadowMemory(1)


@pytest.fixture
def feeder(tmp_path: Path, memory: ShadowMemory, children: list[StubChild]) -> Feeder:
    def start(_: object) -> Child:
        children.append(StubChild())
        return children[-1]  # type: ignore[return-value]

    return Feeder(TargetFile(tmp_path / "shadow.json"), memory.part(0), start)


def send(feeder: Feeder, requests: int) -> None:
    for _ in range(requests):
        if feeder.shadow.selects([]):
            with feeder.shadow.copying_after(b"/invocations", [], b"{}", GOOD):
                pass


def dropped(memory: ShadowMemory) -> float:
    return memory.read()[0].numbers[shadow_memory.place_of(shadow_memory.DROPPED)]


def test_copies_reach_the_child_whole(
    feeder: Feeder, children: list[StubChild], memory: ShadowMemory, tmp_path: Path
) -> None:
    (tmp_path / "shadow.json").write_bytes(SHADOW % 100)
    feeder.look()
    assert memory.pids() == [StubChild.pid]
    send(feeder, 3)
    children[0].room = 10
    feeder.feed(0.0)
    children[0].room = 1 << 30
    feeder.feed(0.0)
    frame = Copy(b"/invocations", b"", b"", b"{}", GOOD.body).frame()
    assert children[0].received == 3 * frame


def test_a_child_that_takes_nothing_fills_the_queue_and_no_more(
    feeder: Feeder, children: list[StubChild], memory: ShadowMemory, tmp_path: Path
) -> None:
    (tmp_path / "shadow.json").write_bytes(SHADOW % 100)
    feeder.look()
    children[0].room = 0
    send(feeder, 10)
    feeder.feed(0.0)
    send(feeder, shadow.MAX_QUEUED + 5)
    feeder.look()
    assert dropped(memory) == 5


def test_what_an_ended_child_was_given_in_part_is_dropped(
    feeder: Feeder, children: list[StubChild], memory: ShadowMemory, tmp_path: Path
) -> None:
    (tmp_path / "shadow.json").write_bytes(SHADOW % 100)
    feeder.look()
    children[0].room = 5
    send(feeder, 3)
    feeder.feed(0.0)
    children[0].has_ended = True
    feeder.feed(0.0)
    send(feeder, 2)
    feeder.look()
    assert children[0].has_been_ended and dropped(memory) == 3
    assert len(children) == 1, "the next is started a few seconds later"


@pytest.mark.parametrize(
    "change",
    [
        lambda path: path.unlink(),
        lambda path: path.write_text("{}"),
        lambda path: path.write_text('{"revision": 1}'),
        lambda path: path.write_bytes(SHADOW.replace(b"wine-2", b"wine-3") % 100),
    ],
    ids=["vanished", "empty", "invalid", "another"],
)
def test_the_child_ends_with_its_target(
    feeder: Feeder, children: list[StubChild], tmp_path: Path, change: Callable[[Path], object]
) -> None:
    path = tmp_path / "shadow.json"
    path.write_bytes(SHADOW % 100)
    feeder.look()
    change(path)
    feeder.look()
    assert children[0].has_been_ended


class InlinePredictor(StubPredictor):
    """Predicts before anything else happens, or leaves it to ASGI."""

    result: Response | BaseException = GOOD

    def begin(self, *arguments: Any) -> bool:
        on_done = arguments[-1]
        on_done(self.result)
        return True


@pytest.mark.parametrize(
    ("result", "copies"),
    [(GOOD, 1), (GOOD._replace(status=400), 0), (ValueError("for MLflow's own code"), 0)],
    ids=["good", "refused", "left"],
)
def test_requests_on_the_inline_path_are_copied(
    feeder: Feeder,
    children: list[StubChild],
    tmp_path: Path,
    result: Response | BaseException,
    copies: int,
) -> None:
    (tmp_path / "shadow.json").write_bytes(SHADOW % 100)
    feeder.look()
    predictor = InlinePredictor(Spec((), ()), NotImplemented)
    predictor.result = result
    settings = replace(Settings(), drift=False)
    recorder = make_recorder(settings, SharedMemory())
    service = InferenceService(predictor, settings, recorder, None, feeder)
    given: list[Response | None] = []
    assert service.accepts_inline
    assert service.begin([], b"{}", lambda: False, given.append)
    feeder.feed(0.0)
    assert given == [None if isinstance(result, ValueError) else result]
    assert bool(children[0].received) == bool(copies)


def test_the_child_stays_if_only_the_percentage_changes(
    feeder: Feeder, children: list[StubChild], tmp_path: Path
) -> None:
    (tmp_path / "shadow.json").write_bytes(SHADOW % 100)
    feeder.look()
    (tmp_path / "shadow.json").write_bytes(SHADOW % 5)
    feeder.look()
    assert len(children) == 1 and not children[0].has_been_ended


def test_a_child_that_can_not_be_started_is_tried_again(tmp_path: Path) -> None:
    def start(_: object) -> Child:
        raise OSError("no process")

    memory = ShadowMemory(1)
    feeder = Feeder(TargetFile(tmp_path / "shadow.json"), memory.part(0), start)
    (tmp_path / "shadow.json").write_bytes(SHADOW % 100)
    feeder.look()
    send(feeder, shadow.MAX_QUEUED + 1)
    feeder.look()
    assert dropped(memory) == 1


def test_after_close_nothing_is_copied(feeder: Feeder, tmp_path: Path) -> None:
    (tmp_path / "shadow.json").write_bytes(SHADOW % 100)
    feeder.look()
    feeder.close()
    assert not any(feeder.shadow.selects([]) for _ in range(100))
