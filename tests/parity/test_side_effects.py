"""Models that do more than to predict: they wait, change the state of the process, or break out.

Asked by both ways: MLflow's threads, where users' own code runs, and the batches of the fast path,
which `BATCHING=on` chooses for it. The reference is MLflow's server as pip installs it, in a
process of its own, since what these models change belongs to the process.
"""

from __future__ import annotations

import http.client
import os
import random
import sys
import threading
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import cloudpickle
import mlflow
import numpy as np
import numpy.typing as npt
import pandas as pd
import pytest
from mlflow.models import infer_signature
from sklearn.base import BaseEstimator, RegressorMixin

from benchmarks.scoring.environments import Pythons
from benchmarks.scoring.servers import KINDS, Kind, Running, Start, running
from tests.parity.asgi import Answer, Request
from tests.parity.bodies import dumps
from tests.parity.compare import RELATIVE, parsed
from tests.parity.deviations import unexplained

cloudpickle.register_pickle_by_value(sys.modules[__name__])

PYTHONS = Pythons(sys.executable, "")
SECONDS_TO_ANSWER = 60
WAYS = {"MLflow's threads": "auto", "the fast path": "on"}


class Panic(BaseException):
    """A kind of the user's own, as extensions in Rust raise it."""


def _raise(error: BaseException) -> float:
    raise error


def sleep_once() -> float:
    if "SLEPT" not in os.environ:
        os.environ["SLEPT"] = "true"
        time.sleep(1.5)
    return 1.0


def wait_for_input() -> float:
    reading, writing = os.pipe()
    threading.Timer(0.3, os.write, (writing, b"x" * 5)).start()
    length = len(os.read(reading, 5))
    os.close(reading)
    os.close(writing)
    return float(length)


def count_in_the_environment() -> float:
    count = int(os.environ.get("COUNT", "0")) + 1
    os.environ["COUNT"] = str(count)
    return float(count)


def seed() -> float:
    random.seed(7)
    np.random.seed(7)
    return 0.0


def draw() -> float:
    return float(np.random.rand()) + random.random()


def print_briefly() -> float:
    np.set_printoptions(precision=2)
    return 0.0


def length_of_print() -> float:
    return float(len(str(np.array([1 / 3]))))


def make_warnings_errors() -> float:
    warnings.simplefilter("error")
    return 0.0


def warn() -> float:
    warnings.warn("of the model's own", UserWarning, stacklevel=1)
    return 0.0


def reset_warnings() -> float:
    warnings.resetwarnings()
    return 0.0


def change_directory() -> float:
    os.chdir("/")
    return 0.0


def length_of_directory() -> float:
    return float(len(Path.cwd().as_posix()))


def nothing() -> float:
    return 0.5


ACTIONS: dict[str, Callable[[], float]] = {
    action.__name__: action
    for action in (
        nothing,
        sleep_once,
        wait_for_input,
        count_in_the_environment,
        seed,
        draw,
        print_briefly,
        length_of_print,
        make_warnings_errors,
        warn,
        reset_warnings,
        change_directory,
        length_of_directory,
    )
}
BREAKS: dict[str, Callable[[], float]] = {
    "KeyboardInterrupt": lambda: _raise(KeyboardInterrupt()),
    "SystemExit": lambda: _raise(SystemExit(3)),
    "GeneratorExit": lambda: _raise(GeneratorExit()),
    "Panic": lambda: _raise(Panic("called `Option::unwrap()` on a `None` value")),
}
CODES = {name: 1000.0 + place for place, name in enumerate([*ACTIONS, *BREAKS])}
# What was changed counts for the requests after it, also for those of a second round.
COURSE = [name for name in ACTIONS for _ in range(2)] + [name for name in ACTIONS if name != "draw"]


class Acts(RegressorMixin, BaseEstimator):
    """Does in each row what its number says."""

    def fit(self, X: pd.DataFrame, y: object = None) -> Acts:
        return self

    def predict(self, X: pd.DataFrame) -> npt.NDArray[np.float64]:
        actions = {CODES[name]: action for name, action in {**ACTIONS, **BREAKS}.items()}
        return np.array([actions.get(how, nothing)() for how in X["how"]])


@pytest.fixture(scope="module")
def case(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("acts")
    frame = pd.DataFrame({"how": [0.0, 1.0]})
    mlflow.sklearn.save_model(
        Acts().fit(frame),
        folder / "model",
        signature=infer_signature(frame, np.array([0.5])),
        serialization_format="cloudpickle",
        pip_requirements=[],
    )
    return folder


def ours(batching: str) -> Kind:
    command = KINDS["ours"].command

    def with_batching(start: Start) -> tuple[list[str], dict[str, str]]:
        words, variables = command(start)
        return words, {**variables, "BATCHING": batching}

    return replace(KINDS["ours"], command=with_batching)


@contextmanager
def serving(kind: Kind, case: Path, folder: Path) -> Iterator[Running]:
    with running(kind, case, folder, PYTHONS) as server:
        yield server


def body_of(name: str) -> bytes:
    return dumps({"dataframe_split": {"columns": ["how"], "data": [[CODES[name]]]}})


def ask(server: Running, name: str) -> Answer | None:
    """The answer; None where the connection is closed without any."""
    client = http.client.HTTPConnection("127.0.0.1", server.port, timeout=SECONDS_TO_ANSWER)
    try:
        client.request("POST", "/invocations", body_of(name), {"Content-Type": "application/json"})
        response = client.getresponse()
        headers = {key.lower(): value for key, value in response.getheaders()}
        return Answer(response.status, headers, response.read())
    except ConnectionError:
        return None
    finally:
        client.close()


@pytest.fixture(scope="module")
def theirs(case: Path, tmp_path_factory: pytest.TempPathFactory) -> list[Answer | None]:
    """MLflow's answers to the whole course."""
    with serving(KINDS["mlflow"], case, tmp_path_factory.mktemp("theirs") / "server") as server:
        return [ask(server, name) for name in COURSE]


@pytest.mark.parametrize("way", WAYS)
def test_what_a_model_does_besides_is_as_with_mlflow(
    case: Path, theirs: list[Answer | None], tmp_path: Path, way: str
) -> None:
    with serving(ours(WAYS[way]), case, tmp_path / "server") as server:
        answers = [ask(server, name) for name in COURSE]
    failures = []
    for name, one, other in zip(COURSE, theirs, answers, strict=True):
        assert one is not None and other is not None
        differences = unexplained(Request(name, body_of(name)), one, other, RELATIVE)
        failures += [f"{name}: {difference}" for difference in differences]
    assert not failures, "\n".join(failures)


@pytest.mark.parametrize("way", WAYS)
def test_what_is_no_exception_is_an_error_and_nothing_more(
    case: Path, tmp_path: Path, way: str
) -> None:
    """MLflow says less, and may fail what comes next (below): the requests of others."""
    with serving(ours(WAYS[way]), case, tmp_path / "server") as server:
        for name in [*BREAKS, *BREAKS]:
            answer = ask(server, name)
            assert answer is not None and answer.status == 500
            fields = {"error_code": "INTERNAL_ERROR", "message": f"the model failed: {name}"}
            assert parsed(answer) == fields
            good = ask(server, "nothing")
            assert good is not None and parsed(good) == {"predictions": [0.5]}
        assert server.process.poll() is None


# Whether MLflow's server answers the next request, after its plain 500.
GOES_ON = {"KeyboardInterrupt": False, "SystemExit": False, "GeneratorExit": True, "Panic": True}
BROKEN = list(BREAKS) if os.environ.get("PARITY") == "full" else ["SystemExit", "Panic"]


@pytest.mark.parametrize("name", BROKEN)
def test_mlflow_s_answer_to_what_is_no_exception_has_no_words(
    case: Path, tmp_path: Path, name: str
) -> None:
    """Ours has the same status, with the fields of an error; and the server always goes on."""
    with serving(KINDS["mlflow"], case, tmp_path / "server") as server:
        answer = ask(server, name)
        if answer is not None:  # it may end before that is sent
            assert (answer.status, answer.body) == (500, b"Internal Server Error")
        after = ask(server, "nothing")
        assert (after is not None and after.status == 200) is GOES_ON[name]
