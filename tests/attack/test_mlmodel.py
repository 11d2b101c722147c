"""MLmodel files that are to stop the operator for everybody. It reads them from any registry."""

from __future__ import annotations

import re
import signal
from collections.abc import Iterator
from types import FrameType

import pytest

from mlflow_model_operator.registry import tracking_server
from mlflow_model_operator.registry.tracking_server import MAX_MLMODEL_BYTES, python_version

FLAVOR = "flavors:\n  python_function:\n"
DEADLINE = 10  # seconds; reading takes milliseconds, the attack minutes


@pytest.fixture(autouse=True)
def deadline() -> Iterator[None]:
    """Ends what takes too long: a regular expression gives way to nothing but a signal."""

    def fail(_signal: int, _frame: FrameType | None) -> None:
        raise AssertionError(f"an MLmodel file is still being read after {DEADLINE} s")

    before = signal.signal(signal.SIGALRM, fail)
    signal.alarm(DEADLINE)
    yield
    signal.alarm(0)
    signal.signal(signal.SIGALRM, before)


@pytest.mark.parametrize("size", [100_000, 5_000_000])
@pytest.mark.parametrize(
    "text",
    [
        "    python_version: 1." + "1" * 64 + "!",
        "1",
        "    x: y\n",
        "  python_function:\n    x\n",
        "    python_version: '1.1!\n",
        "  python_function:\n    python_version: 1.1.!\n",
        "\n",
    ],
)
def test_no_text_takes_long_to_read(text: str, size: int) -> None:
    long_line = f"{FLAVOR}    python_version: 1.{'1' * size}!"
    repeated = FLAVOR + text * (size // len(text))
    assert python_version(long_line) is None
    assert python_version(repeated) is None


def test_only_the_beginning_is_read() -> None:
    version = "    python_version: 3.11.7\n"
    assert python_version(FLAVOR + version) == "3.11.7"
    filler = "    x: y\n" * (MAX_MLMODEL_BYTES // 9 + 1)
    assert python_version(FLAVOR + filler + version) is None


def test_a_version_is_a_short_one() -> None:
    assert python_version(f"{FLAVOR}    python_version: 3.11.{'1' * 100}") is None
    assert re.fullmatch(tracking_server._PYTHON_VERSION, "'3.13.0rc1'")
