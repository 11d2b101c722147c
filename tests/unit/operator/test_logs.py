"""The log's formats."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator

import pytest

from mlflow_model_operator import logs
from mlflow_model_operator.settings import Settings


@pytest.fixture(autouse=True)
def restored() -> Iterator[None]:
    root = logging.getLogger()
    level, handlers = root.level, root.handlers[:]
    yield
    root.setLevel(level)
    root.handlers[:] = handlers


def test_json_is_one_object_per_line(capsys: pytest.CaptureFixture[str]) -> None:
    logs.configure(Settings(log_format="json"))
    log = logging.getLogger("mlflow_model_operator")
    log.info("a\nb %s", "c")
    try:
        raise ValueError("no")
    except ValueError:
        log.exception("failed")
    first, second = map(json.loads, capsys.readouterr().err.splitlines())
    assert (first["level"], first["logger"]) == ("info", "mlflow_model_operator")
    assert first["message"] == "a\nb c"
    assert first["time"].endswith("+00:00")
    assert "ValueError: no" in second["exception"]


def test_the_level_is_the_one_that_is_set(capsys: pytest.CaptureFixture[str]) -> None:
    logs.configure(Settings(log_level="warning"))
    logging.getLogger("mlflow_model_operator").info("quiet")
    logging.getLogger("mlflow_model_operator").warning("loud")
    (line,) = capsys.readouterr().err.splitlines()
    assert line.endswith("WARNING mlflow_model_operator: loud")


@pytest.mark.parametrize(("level", "kopf"), [("info", logging.WARNING), ("debug", logging.DEBUG)])
def test_kopf_is_quiet_unless_debugging(level: str, kopf: int) -> None:
    logs.configure(Settings(log_level=level))
    assert logging.getLogger("kopf").level == kopf


def test_only_the_last_attempt_of_a_request_is_an_error(
    capsys: pytest.CaptureFixture[str],
) -> None:
    logs.configure(Settings())
    log = logging.getLogger("kopf._cogs.clients.watching")
    log.error("Request attempt #1/9 failed; will retry: GET https://api -> 429")
    log.error("Request attempt #9/9 failed; escalating: GET https://api -> 429")
    first, last = capsys.readouterr().err.splitlines()
    assert " WARNING kopf" in first
    assert " ERROR kopf" in last
