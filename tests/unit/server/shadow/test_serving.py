"""Real servers with a shadow: whatever it does, real requests are answered as without it."""

from __future__ import annotations

import json
import os
import signal
import socket
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import mlflow
import pandas as pd
import pytest
import requests
from sklearn.linear_model import LinearRegression

from tests.integration.control_plane import free_port
from tests.unit.server.metrics.test_metrics import value
from tests.unit.server.models import PACKAGES
from tests.unit.server.process import SECONDS_TO_START, Server, serving, wait_until
from tests.unit.server.shadow import stub_shadows

PREFIX = "mlflow_model_server_shadow_"
BODY = {"dataframe_split": {"columns": ["x"], "data": [[1.0], [2.0], [3.0]]}}
TENSOR = {"name": "x", "datatype": "FP64", "shape": [3, 1], "data": [1.0, 2.0, 3.0]}


def save_linear(folder: Path, slope: float) -> None:
    rows = pd.DataFrame({"x": [0.0, 1.0, 2.0, 3.0]})
    fitted = LinearRegression().fit(rows, slope * rows["x"])
    signature = mlflow.models.infer_signature(rows, fitted.predict(rows))
    mlflow.sklearn.save_model(fitted, folder, signature=signature, pip_requirements=PACKAGES)


@dataclass
class Stable:
    """A server with a shadow."""

    server: Server
    file: Path
    metrics_port: int
    version: int = 1  # of the shadow that was used last

    @property
    def revision(self) -> str:
        return f"wine-{self.version}"

    def use(self, port: int, **fields: Any) -> None:
        """Names a shadow that there was not yet, and waits until all workers have it."""
        self.version += 1
        content = {"revision": self.revision, "modelVersion": str(self.version), "percent": 100}
        content |= {"url": f"http://127.0.0.1:{port}", **fields}
        self.write(json.dumps(content))
        self.wait_for(lambda: self.metric("info", shadow_revision=self.revision), self.revision)

    def write(self, content: str) -> None:
        """As the kubelet does: by an exchanged link."""
        target = self.file.with_suffix(f".{len(list(self.file.parent.iterdir()))}")
        target.write_text(content)
        link = self.file.with_suffix(".new")
        link.symlink_to(target)
        link.replace(self.file)

    def metrics(self) -> str:
        return requests.get(f"http://127.0.0.1:{self.metrics_port}/metrics", timeout=10).text

    def metric(self, name: str, **labels: str) -> float | None:
        return value(self.metrics(), PREFIX + name, **labels)

    def count(self, outcome: str) -> float:
        labels = {"shadow_revision": self.revision, "outcome": outcome}
        return self.metric("requests_total", **labels) or 0

    def counts(self, copies: int, *outcomes: str) -> None:
        """Waits until as many copies have had one of these outcomes."""
        self.wait_for(lambda: sum(map(self.count, outcomes)) == copies, f"{copies} copies")

    def examples(self) -> list[Any]:
        """The disagreements that it has logged."""
        lines = self.server.output.read_text().splitlines()
        return [json.loads(line) for line in lines if "shadow_disagreement" in line]

    def wait_for(self, condition: Callable[[], Any], what: str) -> None:
        try:
            # The process that sends copies waits for a CPU that nothing else needs.
            wait_until(condition, what, SECONDS_TO_START)
        except AssertionError:
            print(self.server.output.read_text(), self.metrics())
            raise

    def resident(self) -> int:
        """Bytes of the serving process."""
        pages = Path(f"/proc/{self.server.process.pid}/statm").read_text().split()[1]
        return int(pages) * os.sysconf("SC_PAGE_SIZE")


@contextmanager
def stable_server(folder: Path, **variables: str) -> Iterator[Stable]:
    (folder / "stable").mkdir()
    (folder / "shadow-file").mkdir()
    save_linear(folder / "stable" / "artifact", 2.0)
    file, metrics_port = folder / "shadow-file" / "shadow.json", free_port()
    variables = {
        "SHADOW_FILE": str(file),
        "METRICS_PORT": str(metrics_port),
        "REVISION": "wine-1",
        "MODEL_NAME": "wine",
        **variables,
    }
    with serving(folder / "stable", free_port(), **variables) as server:
        yield Stable(server, file, metrics_port)


@pytest.fixture(scope="module")
def stable(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stable]:
    """For all tests that leave it running."""
    with stable_server(tmp_path_factory.mktemp("shared")) as stable:
        yield stable


@pytest.fixture
def own(tmp_path: Path) -> Iterator[Stable]:
    """For one test."""
    with stable_server(tmp_path) as stable:
        yield stable


def good_answers(stable: Stable, count: int, body: Any = BODY) -> None:
    """All requests are answered, and equally."""
    session = requests.Session()
    bodies = set()
    for _ in range(count):
        answer = session.post(stable.server.url("/invocations"), json=body, timeout=60)
        assert answer.status_code == 200
        bodies.add(answer.content)
    assert len(bodies) == 1
    predicted = json.loads(bodies.pop())["predictions"]
    values = [row[0] for row in body["dataframe_split"]["data"]]
    assert predicted == pytest.approx([2 * value for value in values])


def test_a_good_shadow_is_compared(stable: Stable, tmp_path: Path) -> None:
    (tmp_path / "shadow").mkdir()
    save_linear(tmp_path / "shadow" / "artifact", 3.0)
    with serving(tmp_path / "shadow", free_port(), MODEL_NAME="wine") as shadow:
        stable.use(shadow.port)
        good_answers(stable, 20)
        answer = requests.post(
            stable.server.url("/v2/models/wine/infer"), json={"inputs": [TENSOR]}, timeout=60
        )
        assert answer.status_code == 200
        stable.wait_for(lambda: stable.count("ok") == 21, "all copies are compared")
        assert stable.metric("compared_rows_total") == 63
        assert stable.metric("disagreed_rows_total") == 63
        assert stable.metric("numeric_rows_total") == 63
        assert stable.metric("absolute_error_total") == pytest.approx(21 * 6)
        assert stable.metric("duration_seconds_count") == 21
        assert stable.metric("info", shadow_version=str(stable.version)) == 1


def test_a_copy_is_as_the_request_and_is_not_copied_again(stable: Stable) -> None:
    with stub_shadows.running(stub_shadows.answer(b'{"predictions": [2.0]}')) as shadow:
        stable.use(shadow.port)
        body = json.dumps({"dataframe_split": {"columns": ["x"], "data": [[1.0]]}}).encode()
        headers = {"content-type": "application/json; charset=utf-8", "authorization": "Bearer k"}
        url = stable.server.url("/invocations")
        for more in ({"x-mlflow-shadow": "wine-0"}, {}):
            assert requests.post(url, body, headers=headers | more, timeout=60).ok
        assert requests.post(url, b"{}", headers=headers, timeout=60).status_code == 400
        stable.wait_for(lambda: stable.count("ok") == 1, "the copy is compared")
        assert len(shadow.requests) == 1
        head, _, sent = shadow.requests[0].partition(b"\r\n\r\n")
        assert sent == body
        assert head.startswith(b"POST /invocations HTTP/1.1\r\n")
        assert b"\r\nauthorization: Bearer k\r\n" in head + b"\r\n"
        assert b"\r\ncontent-type: application/json; charset=utf-8\r\n" in head + b"\r\n"
        assert b"\r\nx-mlflow-shadow: wine-1\r\n" in head + b"\r\n"


@pytest.mark.parametrize(
    ("answer", "outcome"),
    [
        (stub_shadows.answer(b"{}", b"500 Internal Server Error"), "error"),
        (stub_shadows.answer(b"", b"307 Temporary Redirect"), "error"),
        (stub_shadows.answer(b'{"predictions": [1.0, 2.0]}'), "incomparable"),
        (stub_shadows.answer(b"\x00not JSON"), "incomparable"),
        (stub_shadows.die_mid_answer, "unreachable"),
        (stub_shadows.stream_for_ever, "error"),
    ],
    ids=["500", "redirect", "rows", "no JSON", "dies", "streams"],
)
def test_a_bad_shadow_changes_no_answer(
    stable: Stable, answer: Callable[[socket.socket, bytes], None], outcome: str
) -> None:
    with stub_shadows.running(answer) as shadow:
        stable.use(shadow.port)
        good_answers(stable, 30)
        stable.counts(30, outcome, "dropped")
        assert stable.count(outcome) > 0
        good_answers(stable, 1)


def test_a_dead_shadow_changes_no_answer(stable: Stable) -> None:
    stable.use(free_port())
    good_answers(stable, 400)
    stable.wait_for(lambda: stable.count("unreachable") > 10, "copies are tried")
    assert stable.count("ok") == 0
    good_answers(stable, 10)


def test_a_hanging_shadow_takes_a_bounded_amount_of_memory(own: Stable) -> None:
    large = {"dataframe_split": {"columns": ["x"], "data": [[float(x)] for x in range(10_000)]}}
    size = len(json.dumps(large))
    good_answers(own, 20, large)
    with stub_shadows.running(stub_shadows.hang) as shadow:
        own.use(shadow.port, timeoutSeconds=60)
        before = own.resident()
        good_answers(own, 400, large)
        own.wait_for(lambda: own.count("dropped") > 200, "copies are dropped")
        # The copies together have 400 times the request, and as much for the answers.
        assert own.resident() - before < 24 * 2**20 < 400 * size
        assert own.count("ok") == 0
        own.server.terminate()
        assert own.server.ended() == 0


def test_copies_have_a_time_limit(stable: Stable) -> None:
    with stub_shadows.running(stub_shadows.hang) as shadow:
        stable.use(shadow.port, timeoutSeconds=0.05)
        good_answers(stable, 5)
        stable.wait_for(lambda: stable.count("timeout") == 5, "the copies time out")


def test_the_file_may_change_and_vanish(own: Stable) -> None:
    with stub_shadows.running(stub_shadows.answer(b'{"predictions": [2, 4, 6]}')) as shadow:
        assert own.metric("config_valid") == 1
        assert own.metric("info") is None
        own.use(shadow.port)
        former = own.revision
        good_answers(own, 3)
        own.wait_for(lambda: own.count("ok") == 3, "the copies are compared")
        own.use(shadow.port)
        assert former not in own.metrics()
        assert own.count("ok") == 0
        own.write('{"revision": "wine-9", "url": "https://user:password@wine/"}')
        own.wait_for(lambda: own.metric("config_valid") == 0, "the file is not valid")
        assert "shadow_revision" not in own.metrics()
        log = own.server.output.read_text()
        assert "SHADOW_FILE can't be used" in log and "password" not in log
        good_answers(own, 3)
        own.file.unlink()
        own.wait_for(lambda: own.metric("config_valid") == 1, "there is no file")
        assert own.metric("info") is None
        assert len(shadow.requests) == 3


def senders(pid: int) -> set[int]:
    """The processes that send copies, of this process or of its workers."""
    children = Path(f"/proc/{pid}/task").glob("*/children")
    pids = {int(child) for file in children for child in file.read_text().split()}
    return {
        sender
        for child in pids
        for sender in ({child} if b"model_server.shadow" in command_of(child) else senders(child))
    }


def command_of(pid: int) -> bytes:
    return Path(f"/proc/{pid}/cmdline").read_bytes()


def test_a_sender_that_dies_is_replaced_and_ends_with_the_server(own: Stable) -> None:
    with stub_shadows.running(stub_shadows.answer(b'{"predictions": [2, 4, 6]}')) as shadow:
        own.use(shadow.port)
        pid = own.server.process.pid
        own.wait_for(lambda: senders(pid), "the sender runs")
        (first,) = senders(pid)
        os.kill(first, signal.SIGKILL)
        good_answers(own, 10)
        own.wait_for(lambda: senders(pid) - {first}, "another sender runs")
        good_answers(own, 10)
        own.wait_for(lambda: own.count("ok") >= 10, "copies are compared again")
        (second,) = senders(pid)
        own.server.terminate()
        assert own.server.ended() == 0
        wait_until(lambda: not Path(f"/proc/{second}").exists(), "the sender has ended")


def test_workers_have_shadows_of_their_own(tmp_path: Path) -> None:
    with (
        stable_server(tmp_path, WORKERS="2") as stable,
        stub_shadows.running(stub_shadows.answer(b'{"predictions": [2, 4, 6]}')) as shadow,
        ThreadPoolExecutor(8) as clients,
    ):
        stable.use(shadow.port)
        list(clients.map(lambda _: good_answers(stable, 10), range(8)))
        stable.counts(80, "ok", "dropped")
        assert stable.count("ok") > 0
        pid = stable.server.process.pid
        assert len(senders(pid)) == 2


def test_examples_are_logged_only_if_they_are_asked_for(stable: Stable) -> None:
    with stub_shadows.running(stub_shadows.answer(b'{"predictions": [2, 4, 7]}')) as shadow:
        stable.use(shadow.port)
        good_answers(stable, 3)
        stable.wait_for(lambda: stable.count("ok") == 3, "the copies are compared")
        stable.use(shadow.port, examples=1)
        good_answers(stable, 3)
        stable.wait_for(stable.examples, "an example is logged")
        example = stable.examples()[0]["shadow_disagreement"]
        assert example == {
            "shadow": stable.revision,
            "row": 2,
            "input": json.dumps(BODY),
            "prediction": example["prediction"],
            "shadow_prediction": "7",
        }
        assert float(example["prediction"]) == pytest.approx(6)


def test_without_the_variable_there_is_nothing(tmp_path: Path) -> None:
    with stable_server(tmp_path, SHADOW_FILE="") as stable:
        stable.write('{"revision": "wine-2", "url": "http://127.0.0.1:1", "percent": 100}')
        good_answers(stable, 3)
        assert "shadow" not in stable.metrics()
        threads = Path(f"/proc/{stable.server.process.pid}/task").glob("*/comm")
        assert "shadow" not in {file.read_text().strip() for file in threads}
