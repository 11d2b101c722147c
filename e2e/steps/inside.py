"""Requests from a pod in the cluster to a model's Service, without a gateway."""

from __future__ import annotations

import json
import subprocess
import threading
import uuid
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from dev import kube
from dev.kube import wait_until
from dev.traffic import Request
from e2e.platform.pods import SCORING_IMAGE, server_pod, wait_until_ready

if TYPE_CHECKING:
    from e2e.steps.given import DeployedModel

NAME, NAMESPACE = "client", "clients"
SLEEP = ["python", "-c", "import http.server as h; h.test(h.SimpleHTTPRequestHandler, port=8080)"]
# Each request on a connection of its own: a Service spreads connections, not requests.
ASK = """
import json, sys, time, urllib.request
url, body, times, pause = sys.argv[1], sys.argv[2].encode(), int(sys.argv[3]), float(sys.argv[4])
headers = {"Content-Type": "application/json"} | {"Host": name for name in sys.argv[5:]}
for _ in range(times):
    try:
        request = urllib.request.Request(url, body, headers)
        with urllib.request.urlopen(request, timeout=30) as response:
            print(json.dumps({"answer": json.load(response)["predictions"][0]}), flush=True)
    except Exception as error:
        print(json.dumps({"failure": f"{type(error).__name__}: {error}"}), flush=True)
    time.sleep(pause)
"""
# The same at a steady rate, until somebody creates the file RESULTS.stop. It writes into a file:
# unlike a stream through the API server, that goes on while the API server is away.
STEADILY = """
import json, os, sys, time, urllib.request
url, body, pause, results = sys.argv[1], sys.argv[2].encode(), float(sys.argv[3]), sys.argv[4]
headers = {"Content-Type": "application/json"}
due = time.monotonic()
with open(results, "w", buffering=1) as lines:
    while not os.path.exists(results + ".stop"):
        time.sleep(max(0.0, due - time.monotonic()))
        due = max(due, time.monotonic() - 1) + pause
        try:
            request = urllib.request.Request(url, body, headers)
            with urllib.request.urlopen(request, timeout=30) as response:
                line = {"answer": json.load(response)["predictions"][0]}
        except Exception as error:
            line = {"failure": f"{type(error).__name__}: {error}"}
        print(json.dumps(line), file=lines)
    print(json.dumps({"end": True}), file=lines)
"""
IN_BACKGROUND = 'setsid nohup python -c "$0" "$@" > /dev/null 2>&1 < /dev/null &'
END_SECONDS = 60
MOST_REQUESTS = 3000
IN_CLIENT = ("kubectl", "exec", f"--namespace={NAMESPACE}", f"deployment/{NAME}", "--")


@dataclass
class Answers:
    """What came back."""

    counts: Counter[Any] = field(default_factory=Counter)
    failures: list[str] = field(default_factory=list)

    def take(self, line: str) -> None:
        """One line of the client's output."""
        told = json.loads(line)
        if "failure" in told:
            self.failures.append(told["failure"])
        else:
            self.counts[told["answer"]] += 1


def answers_from_inside(
    deployed: DeployedModel, times: int, request: Request | None = None
) -> Answers:
    """Sends requests to the resource's Service, one after the other."""
    answers = Answers()
    with _client(deployed, request or deployed.request, times, 0.0) as client:
        assert client.stdout is not None
        for line in client.stdout:
            answers.take(line)
    assert sum(answers.counts.values()) + len(answers.failures) == times, "the client has died"
    return answers


@contextmanager
def load_from_inside(deployed: DeployedModel, pause: float = 0.05) -> Iterator[Answers]:
    """Sends requests until the block ends."""
    answers = Answers()
    with _client(deployed, deployed.request, MOST_REQUESTS, pause) as client:

        def listen() -> None:
            assert client.stdout is not None
            for line in client.stdout:
                answers.take(line)

        listener = threading.Thread(target=listen, daemon=True)
        listener.start()
        try:
            yield answers
            assert client.poll() is None, "the client has ended too early"
        finally:
            client.terminate()
            listener.join()


@contextmanager
def steady_load_from_inside(deployed: DeployedModel, per_second: float) -> Iterator[Answers]:
    """Sends requests until the block ends, also while the API server is away.

    The answers are there after the block only.
    """
    url, body = _invocations(deployed, deployed.request)
    wait_until_it_answers_inside(url.replace("/invocations", "/ping"))
    results = f"/tmp/{uuid.uuid4().hex}.jsonl"
    parameters = (url, body, str(1 / per_second), results)
    kube.run(*IN_CLIENT, "sh", "-c", IN_BACKGROUND, STEADILY, *parameters)
    answers = Answers()
    try:
        yield answers
    finally:
        kube.run(*IN_CLIENT, "touch", f"{results}.stop")
        for line in wait_until(
            "the client has ended", lambda: _ended(results), seconds=END_SECONDS
        ):
            answers.take(line)


def _ended(results: str) -> list[str] | None:
    """All lines of a client that has ended, without the last."""
    lines = kube.run(*IN_CLIENT, "cat", results).splitlines()
    return lines[:-1] if lines and "end" in json.loads(lines[-1]) else None


def wait_until_it_answers_inside(url: str) -> None:
    """A GET from inside the cluster is answered with 200.

    kube-proxy refuses packets to a new Service until it has heard of its endpoints.
    """
    _ensure_client()
    wait_until(f"{url} answers in the cluster", lambda: _answers(url), seconds=60)


def answer_inside(url: str, hostname: str, deployed: DeployedModel) -> Any:
    """The answer to one request from inside the cluster, or the failure in words.

    `url` is of something that passes requests for `hostname` on, like a gateway.
    """
    _ensure_client()
    body = _invocations(deployed, deployed.request)[1]
    command = ("python", "-c", ASK, url, body, "1", "0", hostname)
    line = json.loads(kube.run(*IN_CLIENT, *command))
    return line.get("answer", line.get("failure"))


def _ensure_client() -> None:
    """The one client pod that all tests share is there."""
    kube.apply(kube.restricted_namespace(NAMESPACE))
    kube.apply(*server_pod(NAME, NAMESPACE, SCORING_IMAGE, SLEEP, 8080))
    wait_until_ready(NAME, NAMESPACE)


def _answers(url: str) -> bool:
    get = (
        "import sys, urllib.request as u; sys.exit(u.urlopen(sys.argv[1], timeout=5).status != 200)"
    )
    try:
        kube.run(*IN_CLIENT, "python", "-c", get, url)
    except kube.CommandError:
        return False
    return True


def _client(
    deployed: DeployedModel, request: Request, times: int, pause: float
) -> subprocess.Popen[str]:
    """Starts it in the client pod, once the node knows the way."""
    url, body = _invocations(deployed, request)
    wait_until_it_answers_inside(url.replace("/invocations", "/ping"))
    command = [*IN_CLIENT, "python", "-c", ASK, url, body, str(times), str(pause)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)


def _invocations(deployed: DeployedModel, request: Request) -> tuple[str, str]:
    """The URL inside the cluster, and the body."""
    table = {"columns": request.columns, "data": [request.row]}
    url = f"http://{deployed.name}.{deployed.namespace}/invocations"
    return url, json.dumps({"dataframe_split": table})
