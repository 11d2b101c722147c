"""The request log: what is in it, and what becomes of it when it can't be written."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlflow_model_server.metrics import slots
from mlflow_model_server.metrics.recorder import make_recorder
from mlflow_model_server.metrics.shared_memory import SharedMemory
from mlflow_model_server.request_log import MAX_LINE_BYTES, RequestLog, RotatingFile, Sink
from mlflow_model_server.settings import Settings
from tests.unit.server.process import environment_of_server, wait_until

PARENT = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"


class MemorySink(Sink):
    """Keeps the lines, or fails as a full disk does."""

    def __init__(self) -> None:
        self.lines: list[bytes] = []
        self.full = False

    def write(self, line: bytes) -> None:
        if self.full:
            raise OSError(28, "No space left on device")
        self.lines.append(line)


@pytest.fixture
def sink() -> MemorySink:
    return MemorySink()


def dropped_of(numbers: memoryview[float]) -> memoryview[float]:
    return numbers[slots.REQUEST_LOG_DROPPED : slots.REQUEST_LOG_DROPPED + 1]


def request_log(sink: Sink, sample: float = 1, bodies: bool = False) -> RequestLog:
    return RequestLog(sink, sample, bodies, dropped_of(SharedMemory(1).slot(0)))


def written(sink: MemorySink) -> list[dict[str, Any]]:
    return [json.loads(line) for line in sink.lines]


def test_a_line_describes_a_request_without_its_content(sink: MemorySink) -> None:
    log = request_log(sink)
    log.write("/invocations", 200, 0.0123456789, 3, b'{"secret": 1}', b"[1]", PARENT, "team-a")
    log.flush()
    (line,) = written(sink)
    assert line.pop("time") > 1e9
    assert line == {
        "route": "/invocations",
        "code": 200,
        "seconds": 0.012346,
        "rows": 3,
        "request_bytes": 13,
        "response_bytes": 3,
        "traceparent": PARENT,
        "caller": "team-a",
    }


def test_bodies_are_there_on_request_and_bounded(sink: MemorySink) -> None:
    log = request_log(sink, bodies=True)
    log.write("/invocations", 200, 0.1, request=b"\xff\n" + b"x" * 10_000, response="ü".encode())
    log.flush()
    (line,) = written(sink)
    assert line["request"].startswith("�\n") and len(line["request"]) == 4096
    assert (line["response"], line["request_bytes"]) == ("ü", 10_002)


ANYTHING = st.one_of(
    st.text(max_size=300), st.sampled_from(["\0" * 9000, "\ud800" * 9000, "\U0001f600" * 9000])
)


@given(ANYTHING, ANYTHING, ANYTHING, st.binary(), st.sampled_from([b"", b"\0" * 9000]))
def test_a_line_is_a_single_line_and_bounded(
    caller: str, route: str, parent: str, body: bytes, padding: bytes
) -> None:
    sink = MemorySink()
    log = request_log(sink, bodies=True)
    log.write(route, 200, 1e300, 2**63, padding + body, body + padding, parent, caller)
    log.flush()
    (line,) = sink.lines
    assert len(line) <= MAX_LINE_BYTES
    assert line.endswith(b"\n") and line.count(b"\n") == 1
    assert json.loads(line)["code"] == 200


def test_an_entry_that_cannot_be_written_ends_nothing(
    sink: MemorySink, caplog: pytest.LogCaptureFixture
) -> None:
    log = request_log(sink)
    threading.Thread(target=log.run, daemon=True).start()
    log.write("/invocations", 200, float("nan"), rows=object())  # type: ignore[arg-type]
    wait_until(lambda: "the request log can't be written" in caplog.text, "the failure is logged")
    log.write("/invocations", 200, 0.1)
    wait_until(lambda: sink.lines, "the next line is written")


@pytest.mark.parametrize(("sample", "logged"), [(0, 0), (0.1, 100), (0.5, 500), (1, 1000)])
def test_the_sample_is_as_large_as_configured(sink: MemorySink, sample: float, logged: int) -> None:
    log = request_log(sink, sample)
    assert abs(sum(log.should_log() for _ in range(1000)) - logged) <= 1


def test_entries_beyond_a_slow_sink_are_dropped_and_counted(sink: MemorySink) -> None:
    numbers = SharedMemory(1).slot(0)
    log = RequestLog(sink, 1, False, dropped_of(numbers))
    for _ in range(1500):
        log.write("/invocations", 200, 0.1)
    assert numbers[slots.REQUEST_LOG_DROPPED] == 500
    log.flush()
    assert len(sink.lines) == 1000


def test_a_full_disk_loses_lines_and_nothing_else(sink: MemorySink) -> None:
    log = request_log(sink)
    sink.full = True
    for _ in range(3):
        log.write("/invocations", 200, 0.1)
    with pytest.raises(OSError, match="No space left"):
        log.flush()
    sink.full = False
    log.flush()
    assert len(sink.lines) == 2


def test_files_are_rotated_within_their_bytes(tmp_path: Path) -> None:
    path = tmp_path / "requests.log"
    file = RotatingFile(path, 1000)
    for number in range(100):
        file.write(b"%08d " % number + b"x" * 90 + b"\n")
    files = sorted(tmp_path.iterdir())
    assert files == [path, tmp_path / "requests.log.1"]
    assert sum(file.stat().st_size for file in files) <= 1000
    assert path.read_bytes().splitlines()[-1].startswith(b"00000099")
    with pytest.raises(OSError, match="is too long"):
        file.write(b"x" * 600)


def test_a_recorder_writes_by_itself_and_each_worker_its_own_file(
    settings: Settings, tmp_path: Path
) -> None:
    path = tmp_path / "requests.log"
    configured = replace(settings, request_log=str(path), drift=False, workers=2)
    log = make_recorder(configured, SharedMemory(2), slot=1).request_log
    assert log is not None and log.should_log()
    log.write("/invocations", 200, 0.1)
    mine = tmp_path / "requests-1.log"
    wait_until(lambda: mine.read_bytes().endswith(b"\n"), "the line is written")


def test_lines_go_to_stdout(tmp_path: Path) -> None:
    code = """if True:
        from dataclasses import replace
        from mlflow_model_server.metrics.recorder import make_recorder
        from mlflow_model_server.metrics.shared_memory import SharedMemory
        from mlflow_model_server.settings import Settings
        log = make_recorder(replace(Settings(), request_log="stdout", drift=False), SharedMemory(1))
        log.request_log.write("/invocations", 200, 0.1)
        log.request_log.flush()
    """
    done = subprocess.run(
        [sys.executable, "-c", code], env=environment_of_server(), capture_output=True, check=True
    )
    assert json.loads(done.stdout)["code"] == 200
