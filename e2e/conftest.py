"""Brings up what the tests stand on, once, and reads the operator's log at the end.

Run by `make test-e2e`; pytest-xdist's workers share one platform, brought up by the main process.
"""

from __future__ import annotations

import fcntl
import re
import tempfile
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from dev import kube
from e2e.models import Facts
from e2e.platform import OperatorLog, bring_up
from e2e.platform.bring_up import TEST_LABEL

MOST_TROUBLES = 20

_platform: dict[str, Any] = {}


def pytest_sessionstart(session: pytest.Session) -> None:
    """Before the workers start."""
    if _is_worker(session.config) or session.config.option.collectonly:
        return
    if session.config.option.markexpr == "docs":
        return  # these install everything themselves
    _platform["facts"] = bring_up()
    _platform["log"] = OperatorLog()


@pytest.hookimpl(optionalhook=True)
def pytest_configure_node(node: Any) -> None:
    """Tells a worker what it needs to know."""
    node.workerinput["facts"] = _platform["facts"].as_json()


@pytest.hookimpl(trylast=True)
def pytest_sessionfinish(session: pytest.Session) -> None:
    """An error in the operator's log fails the run, whatever the tests say."""
    log = _platform.get("log")
    if log is None:
        return
    log.close()
    if log.troubles and session.exitstatus == pytest.ExitCode.OK:
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


def pytest_terminal_summary(terminalreporter: Any) -> None:
    """Shows those errors."""
    log = _platform.get("log")
    if log is None or not log.troubles:
        return
    terminalreporter.section("errors in the operator's log")
    for line in log.troubles[:MOST_TROUBLES]:
        terminalreporter.line(line, red=True)


@pytest.fixture(scope="session")
def facts(request: pytest.FixtureRequest) -> Facts:
    """The models, and what else was made before the first test."""
    if _is_worker(request.config):
        return Facts.from_json(request.config.workerinput["facts"])  # type: ignore[attr-defined]
    found: Facts = _platform["facts"]
    return found


@pytest.fixture
def namespace(request: pytest.FixtureRequest) -> Iterator[str]:
    """A namespace of the test's own, with the restricted Pod Security Standard enforced."""
    yield from _namespace(request.node.name)


@pytest.fixture(scope="session")
def shared_namespace() -> Iterator[str]:
    """A namespace for what all tests of a worker may look at and none may change."""
    yield from _namespace("shared")


@pytest.fixture
def operator_alone() -> Iterator[None]:
    """No other test stops or kills the operator meanwhile."""
    yield from _alone("operator")


@pytest.fixture
def hostname_alone() -> Iterator[None]:
    """No other test has a resource with the examples' host name meanwhile."""
    yield from _alone("hostname")


def _alone(what: str) -> Iterator[None]:
    """One test at a time, of all workers'."""
    lock = Path(tempfile.gettempdir()) / f"mlflow-model-operator-e2e-{what}.lock"
    with lock.open("w") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        yield


def _namespace(title: str) -> Iterator[str]:
    words = re.sub(r"[^a-z0-9]+", "-", title.lower().removeprefix("test_")).strip("-")
    name = f"{words[:40].strip('-')}-{uuid.uuid4().hex[:4]}"
    kube.apply(kube.restricted_namespace(name, {TEST_LABEL: "true"}))
    yield name
    kube.delete(kube.NAMESPACE, name)


def _is_worker(config: pytest.Config) -> bool:
    return hasattr(config, "workerinput")
