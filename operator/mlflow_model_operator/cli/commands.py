"""The commands that look at a resource in the cluster, or control its rollout."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any, TextIO

from mlflow_model_operator.api import names
from mlflow_model_operator.api.phase import Phase
from mlflow_model_operator.cli import controls
from mlflow_model_operator.cli.controls import Control, Outcome
from mlflow_model_operator.cli.kubectl import CommandError, Kubectl, MissingResource
from mlflow_model_operator.cli.output import dump
from mlflow_model_operator.cli.text import history_text, status_text
from mlflow_model_operator.cli.view import AT_REST, selector, view

Json = dict[str, Any]

CONTROL_INTERVAL = 0.5  # seconds between two looks at whether a control was read
CLEAR_SCREEN = "\x1b[2J\x1b[3J\x1b[H"


@dataclass(frozen=True)
class Terminal:
    """Where a command writes, and its clock."""

    out: TextIO = field(default_factory=lambda: sys.stdout)
    err: TextIO = field(default_factory=lambda: sys.stderr)
    sleep: Callable[[float], None] = time.sleep
    clock: Callable[[], float] = time.monotonic

    def write(self, text: str) -> None:
        """Writes text for whoever reads along."""
        self.out.write(text)
        self.out.flush()


def status(kubectl: Kubectl, name: str, output: str, terminal: Terminal) -> int:
    """Shows a resource and its rollout once."""
    terminal.write(_shown(_view(kubectl, name), output))
    return 0


@dataclass(frozen=True)
class Watch:
    """How to watch a rollout."""

    interval: float  # seconds
    timeout: float  # seconds; 0: without end
    until_done: bool


def watch(kubectl: Kubectl, name: str, output: str, how: Watch, terminal: Terminal) -> int:
    """Shows a resource each time that it has changed.

    Returns 1 where the rollout was rolled back, or the time was over before it ended.
    """
    last = None
    for current in _views(kubectl, name, how, terminal):
        if current != last:
            terminal.write(_frame(_shown(current, output), last is None, terminal))
            last = current
        phase = current["rollout"].get("phase")
        if how.until_done and phase in AT_REST and current["isCurrent"]:
            return int(phase == Phase.FAILED)
    if how.until_done:
        terminal.err.write(f"The rollout of {name} has not ended within {how.timeout:g} s\n")
    return int(how.until_done)


def _views(kubectl: Kubectl, name: str, how: Watch, terminal: Terminal) -> Iterator[Json]:
    """The resource again and again; an API server that does not answer is waited for."""
    deadline = terminal.clock() + how.timeout
    complaint = ""
    while True:
        try:
            yield _view(kubectl, name)
            complaint = ""
        except MissingResource:
            raise
        except CommandError as error:
            if str(error) != complaint:
                complaint = str(error)
                terminal.err.write(f"{complaint}\n")
        if how.timeout and terminal.clock() >= deadline:
            return
        terminal.sleep(how.interval)


def _frame(text: str, is_first: bool, terminal: Terminal) -> str:
    """On a terminal in the place of what was there; else below it."""
    if terminal.out.isatty():
        return CLEAR_SCREEN + text
    return text if is_first else f"\n{text}"


def _view(kubectl: Kubectl, name: str) -> Json:
    resource = kubectl.resource(name)
    try:
        deployments = kubectl.objects("deployments", f"--selector={selector(name)}")
    except CommandError:  # who may read the resource may not read these
        deployments = []
    return view(resource, deployments)


def _shown(current: Json, output: str) -> str:
    return dump(current, output) if output else status_text(current)


def history(kubectl: Kubectl, name: str, output: str, terminal: Terminal) -> int:
    """Shows the last rollouts."""
    recorded = kubectl.resource(name).get("status") or {}
    entries = recorded.get("history") or []
    stable = (recorded.get("stable") or {}).get("revision", "")
    terminal.write(dump(entries, output) if output else history_text(entries, stable))
    return 0


def control(
    kubectl: Kubectl, name: str, requested: Control, timeout: float, terminal: Terminal
) -> int:
    """Writes the annotation, waits until the operator has read it, and says what came of it."""
    before = kubectl.resource(name)
    reason = controls.refusal(requested, before)
    if reason is not None:
        raise CommandError(reason)
    value = requested.value(str(time.time_ns() // 1_000_000))
    kubectl.annotate(name, names.ROLLOUT, value)
    result = _wait(kubectl, before, requested, value, timeout, terminal)
    (terminal.err if result.has_failed else terminal.out).write(f"{result.text}\n")
    return int(result.has_failed)


def _wait(
    kubectl: Kubectl,
    before: Json,
    requested: Control,
    value: str,
    timeout: float,
    terminal: Terminal,
) -> Outcome:
    """What came of a control; where it goes on by itself, as far as that is in time."""
    name, deadline = before["metadata"]["name"], terminal.clock() + timeout
    result = None
    while terminal.clock() < deadline:
        after = kubectl.resource(name)
        if controls.is_read(after, value):
            result = controls.outcome(requested, before, after)
            if result.is_done:
                return result
        terminal.sleep(CONTROL_INTERVAL)
    if result is not None:
        return Outcome(f"{result.text}. To watch it: kubectl mmd status {name} --watch")
    raise CommandError(
        f"The operator has not read {names.ROLLOUT}={value} within {timeout:g} s: the annotation "
        "stays and acts as soon as the operator runs; see kubectl get pods --all-namespaces "
        "--selector app.kubernetes.io/name=mlflow-model-operator"
    )
