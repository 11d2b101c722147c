"""Moves an alias to one version after another under load, and kills the operator meanwhile."""

from __future__ import annotations

import itertools
import json
import random
import subprocess
import sys
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from benchmarks import machine
from dev import kube
from dev.kube import kubectl, wait_until
from dev.mlflow import server
from dev.traffic import RequestFailed, gateway_url
from e2e import models
from e2e.steps.given import (
    DeployedModel,
    RegisteredModel,
    given_a_deployment,
    given_a_registered_model,
    registry_client,
)
from e2e.steps.when import when_the_operator_is_killed

ALIAS = "champion"
RELEASE_SECONDS = 240
MAX_RELEASES = 120
GAP_SECONDS = 0.1
STEPS = [{"weight": 20, "hold": "2s"}, {"weight": 50, "hold": "2s"}]
BODY = json.dumps({"dataframe_split": {"columns": ["wait"], "data": [[0.0]]}})


@dataclass(frozen=True)
class Options:
    """What to run."""

    releases: int
    per_second: float
    kills: int
    steps: bool
    min_requests: int
    seed: int = 1


@dataclass(frozen=True)
class Release:
    """One move of the alias; seconds are from the move."""

    version: int
    first_answer: float
    complete: float
    operator_killed_after: float | None


@dataclass
class Result:
    """All that a run gave."""

    options: Options
    machine: dict[str, Any]
    releases: list[Release] = field(default_factory=list)
    requests: int = 0
    seconds: float = 0.0
    by_version: dict[str, int] = field(default_factory=dict)
    failures: list[tuple[float, str]] = field(default_factory=list)  # seconds from the beginning
    gaps: list[tuple[float, float]] = field(default_factory=list)  # when, how long
    slowest: list[float] = field(default_factory=list)  # p50, p99, p99.9 and maximum, seconds

    def as_json(self) -> dict[str, Any]:
        """For a file."""
        return asdict(self)


@dataclass(frozen=True)
class _Answer:
    start: float
    end: float
    prediction: str | None
    failure: str | None


def measure(options: Options, folder: Path) -> Result:
    """Runs the releases; needs the cluster and environment of `make demo`."""
    result = Result(options, machine.describe())
    with _deployed(options) as (model, deployed):
        results = folder / "requests.jsonl"
        with _load(deployed, options.per_second, results):
            _run(options, model, deployed, results, result)
    _read(results, result)
    return result


@contextmanager
def _deployed(options: Options) -> Iterator[tuple[RegisteredModel, DeployedModel]]:
    namespace = f"releases-{uuid.uuid4().hex[:4]}"
    kube.apply(kube.restricted_namespace(namespace, {}))
    try:
        facts = models.Facts(logged=models.log_all(server.mlflow_url()))
        model = given_a_registered_model(facts, *"12" * (MAX_RELEASES // 2 + 1), champion=1)
        rollout: dict[str, Any] = {"steps": STEPS} if options.steps else {"strategy": "direct"}
        deployed = given_a_deployment(
            namespace, model.at(ALIAS), rollout={**rollout, "flapProtection": {"moves": 0}}
        )
        _wait_until_served(deployed, 1)
        yield model, deployed
    finally:
        kube.delete(kube.NAMESPACE, namespace)


@contextmanager
def _load(deployed: DeployedModel, per_second: float, results: Path) -> Iterator[None]:
    gateway = urlsplit(gateway_url())
    command = [
        *(sys.executable, "-m", "benchmarks.releases.load"),
        *("--host", str(gateway.hostname), "--port", str(gateway.port)),
        *("--hostname", deployed.endpoint.hostname, "--body", BODY),
        *("--per-second", str(per_second), "--results", str(results)),
    ]
    process = subprocess.Popen(command)
    try:
        wait_until("the load has begun", lambda: _has_begun(results), seconds=30)
        yield
    finally:
        process.terminate()
        process.wait(timeout=60)


def _has_begun(results: Path) -> bool:
    return results.exists() and results.stat().st_size > 0


def _run(
    options: Options,
    model: RegisteredModel,
    deployed: DeployedModel,
    results: Path,
    result: Result,
) -> None:
    chance = random.Random(options.seed)
    killed = set(chance.sample(range(options.releases), options.kills))
    ends = time.time() + options.min_requests / options.per_second
    number = 0
    while number < MAX_RELEASES and (number < options.releases or time.time() < ends):
        version = number + 2  # each is a version of its own, that has never been served
        kill_after = chance.uniform(0, 12) if number in killed else None
        result.releases.append(_release(model, deployed, version, kill_after, results))
        print(result.releases[-1], file=sys.stderr, flush=True)
        number += 1


def _release(
    model: RegisteredModel,
    deployed: DeployedModel,
    version: int,
    kill_after: float | None,
    results: Path,
) -> Release:
    began, position = time.time(), results.stat().st_size
    registry_client().set_registered_model_alias(model.name, ALIAS, str(version))
    if kill_after is not None:
        time.sleep(kill_after)
        when_the_operator_is_killed()
    _wait_until_served(deployed, version)
    complete = time.time()
    first = min(
        answer.end
        for answer in _answers(results, position)
        if answer.prediction == _label(version) and answer.start >= began
    )
    return Release(version, first - began, complete - began, kill_after)


def _label(version: int) -> str:
    """The prediction of this version."""
    return "12"[(version - 1) % 2]


def _wait_until_served(deployed: DeployedModel, version: int) -> None:
    """Until the status says that this version gets all requests, and a request says so too."""

    def is_served() -> bool:
        traffic = deployed.status.get("traffic", ())
        shares = [(share["modelVersion"], share["weight"]) for share in traffic]
        return shares == [(str(version), 100)] and _prediction(deployed) == _label(version)

    def explain() -> str:
        return kubectl("get", "mmd,pods", f"--namespace={deployed.namespace}")

    wait_until(f"version {version} is served", is_served, seconds=RELEASE_SECONDS, explain=explain)


def _prediction(deployed: DeployedModel) -> str | None:
    try:
        return str(deployed.request.send())
    except RequestFailed:  # the load counts those: here it is not served yet
        return None


def _answers(results: Path, position: int = 0) -> Iterator[_Answer]:
    with results.open() as file:
        file.seek(position)
        for line in file:
            if not line.endswith("\n"):
                return
            entry = json.loads(line)
            yield _Answer(
                entry["start"],
                entry["start"] + entry["seconds"],
                entry.get("prediction"),
                entry.get("failure"),
            )


def _read(results: Path, result: Result) -> None:
    answers = sorted(_answers(results), key=lambda answer: answer.end)
    begin = min(answer.start for answer in answers)
    result.requests, result.seconds = len(answers), answers[-1].end - begin
    for answer in answers:
        if answer.prediction is None:
            result.failures.append((answer.start - begin, answer.failure or ""))
        else:
            count = result.by_version.get(answer.prediction, 0)
            result.by_version[answer.prediction] = count + 1
    for before, after in itertools.pairwise(answers):
        if after.end - before.end > GAP_SECONDS:
            result.gaps.append((before.end - begin, after.end - before.end))
    durations = sorted(answer.end - answer.start for answer in answers)
    shares = (0.5, 0.99, 0.999, 1.0)
    result.slowest = [
        durations[min(int(share * len(durations)), len(durations) - 1)] for share in shares
    ]
