"""Log records with text of clients."""

from __future__ import annotations

import io
import logging
import subprocess
import sys
from collections.abc import Iterator

import pytest

from mlflow_model_server.bounded_logging import BoundedRecord, bounded, hide_exception_messages
from tests.unit.server.process import environment_of_server


@pytest.fixture
def stream() -> Iterator[io.StringIO]:
    """What a handler that knows nothing of this writes."""
    stream = io.StringIO()
    handler = logging.StreamHandler(stream)
    handler.setFormatter(logging.Formatter("%(levelname)s %(message)s"))
    logger = logging.getLogger("bounded")
    logger.addHandler(handler)
    logging.setLogRecordFactory(BoundedRecord)
    yield stream
    logging.setLogRecordFactory(logging.LogRecord)
    logger.removeHandler(handler)


def test_a_message_is_bounded(stream: io.StringIO) -> None:
    logging.getLogger("bounded").warning("the names %s are not known", ["name"] * 100_000)
    text = stream.getvalue()
    assert text.startswith("WARNING the names ['name', ") and text.endswith("] are not known\n")
    assert "more characters" in text and len(text) < 2200


def test_an_exception_is_bounded_from_both_ends(stream: io.StringIO) -> None:
    try:
        raise ValueError("x" * 1_000_000 + " and no more")
    except ValueError:
        logging.getLogger("bounded").exception("failed")
    text = stream.getvalue()
    assert text.startswith("ERROR failed\n  Traceback (most recent call last):\n")
    assert text.endswith("xx and no more\n") and len(text) < 17_000


def test_no_text_looks_like_a_record_of_its_own(stream: io.StringIO) -> None:
    forged = "a\nERROR forged\r\nERROR forged\x1b[2J\x9b\u2028ERROR"
    logging.getLogger("bounded").warning("%s", forged)
    try:
        raise ValueError(forged)
    except ValueError:
        logging.getLogger("bounded").exception("failed")
    lines = stream.getvalue().splitlines()
    assert [line for line in lines if not line.startswith("  ")] == ["WARNING a", "ERROR failed"]
    assert stream.getvalue().replace("\n", "").isprintable()


@pytest.fixture
def hidden() -> Iterator[None]:
    hide_exception_messages(True)
    yield
    hide_exception_messages(False)


def test_messages_of_exceptions_can_be_hidden(stream: io.StringIO, hidden: None) -> None:
    try:
        try:
            float("jane.doe")
        except ValueError as error:
            error.add_note("jane.doe")
            raise KeyError("jane.doe") from error
    except KeyError:
        logging.getLogger("bounded").exception("failed")
    text = stream.getvalue()
    assert text.count("jane.doe") == 2, "in the two lines of code, and in no message"
    first, _, second = text.partition(
        "builtins.ValueError: with REQUEST_LOG_BODIES=true its message"
    )
    assert 'float("jane.doe")' in first, "the code is shown"
    assert "builtins.KeyError: with REQUEST_LOG_BODIES=true its message is logged" in second


def test_an_exception_that_caused_itself_has_an_end(stream: io.StringIO, hidden: None) -> None:
    error = ValueError()
    error.__cause__ = KeyError()
    error.__cause__.__cause__ = error
    logging.getLogger("bounded").error("failed", exc_info=error)
    assert stream.getvalue().count("builtins.") == 2


def test_logins_in_urls_are_left_out(stream: io.StringIO) -> None:
    """As MLflow says that a trace was not written."""
    url = "http://me:a-secret@mlflow:5000/api/3.0/mlflow/traces"
    try:
        raise ConnectionError(f"no answer from {url}")
    except ConnectionError as error:
        logging.getLogger("bounded").exception("API request to %s failed with %s", url, error)
    logging.getLogger("bounded").warning("%s", "x" * 2000 + url)
    text = stream.getvalue()
    assert text.count("http://***@mlflow:5000/api/3.0/mlflow/traces") == 4
    assert "secret" not in text


def test_short_plain_text_stays_as_it_is() -> None:
    assert bounded("Grüße, 数 🎉\tx", 100) == "Grüße, 数 🎉\tx"


def test_the_server_bounds_all_loggers_and_warnings() -> None:
    code = """if True:
        import logging, warnings
        from mlflow_model_server import bounded_logging
        bounded_logging.configure()
        import mlflow
        logging.getLogger("mlflow.models.utils").warning("%s", "n" * 1_000_000)
        warnings.warn("w" * 1_000_000)
        logging.error("%s", "e" * 1_000_000)
    """
    done = subprocess.run(
        [sys.executable, "-c", code], env=environment_of_server(), capture_output=True, check=True
    )
    assert len(done.stdout + done.stderr) < 10_000
    for letter in (b"nnn", b"www", b"eee"):
        assert letter in done.stderr
