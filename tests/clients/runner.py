"""Programs that ask a server as its users' programs do, each with a client of its own.

The files in `programs/` send the same requests, and print a line for each response: the name of the
case, the status, and the body in base64. They get the server's address, that of a relay to it that
counts connections, and a folder with a file for each body.

A machine need not have every language. What can't run here is `Unavailable`: its tests fail where
REQUIRE_CLIENTS is set; else they are skipped, and listed at the end as not run.
"""

from __future__ import annotations

import base64
import hashlib
import os
import shutil
import subprocess
import sys
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path

import pytest

from benchmarks.environments import environment
from dev.cluster.settings import read_settings

HERE = Path(__file__).parent / "programs"
SECONDS = 300  # for all that a program does, on a loaded machine
NOT_RUN: dict[str, str] = {}  # clients, and why


class Unavailable(Exception):
    """A client that this machine lacks; the message says how to install it."""


@dataclass(frozen=True)
class Response:
    """A response as a client has understood it."""

    status: int
    body: bytes


Responses = dict[str, list[Response]]  # by case


def require(client: str, tool: str, package: str) -> str:
    """The path of a tool."""
    path = shutil.which(tool)
    if path is None:
        raise Unavailable(f"no {tool}: install {package} to run {client}")
    return path


def unavailable(client: str, error: Unavailable) -> None:
    """Ends the test: as failed if all clients are required, else as not run."""
    NOT_RUN[client] = str(error)
    if os.environ.get("REQUIRE_CLIENTS"):
        pytest.fail(f"{client}: {error}")
    pytest.skip(f"not run: {error}")


def command(client: str) -> list[str]:
    """What runs a client of HTTP; builds it where it has to be built."""
    if client.startswith("curl"):
        require(client, "bash", "bash")
        require(client, "curl", "curl")
        return [str(HERE / "client.sh")]
    if client == "java.net.http":
        require(client, "javac", "a JDK of version 11 or later")
        return [require(client, "java", "a JDK of version 11 or later"), str(HERE / "Client.java")]
    if client == "node fetch":
        return [node(client), str(HERE / "client.mjs")]
    if client == "go net/http":
        return [str(go_program(client))]
    return [sys.executable, str(HERE / "client.py"), client]


def node(client: str) -> str:
    """Node, if it has fetch."""
    path = require(client, "node", "Node.js 18 or later")
    version = output([path, "--version"]).strip()
    if int(version.lstrip("v").partition(".")[0]) < 18:
        raise Unavailable(f"node is {version}: install Node.js 18 or later to run {client}")
    return path


def go_program(client: str) -> Path:
    """Compiled once for each version of the source and of Go."""
    go = require(client, "go", "Go")
    source = HERE / "client.go"
    program = _cached("go", source.read_bytes() + output([go, "version"]).encode()) / "client"
    if not program.exists():
        new = program.with_suffix(f".{os.getpid()}")
        output([go, "build", "-o", str(new), str(source)])
        new.rename(program)
    return program


def node_modules(client: str) -> Path:
    """The packages of package-lock.json, from npm's registry, installed once."""
    npm = require(client, "npm", "npm")
    lock = HERE / "package-lock.json"
    folder = _cached("node", lock.read_bytes())
    done = folder / ".complete"
    if not done.exists():
        for file in (HERE / "package.json", lock):
            shutil.copy(file, folder)
        options = ["--ignore-scripts", "--no-audit", "--no-fund"]
        installed = subprocess.run([npm, "ci", *options], cwd=folder, capture_output=True)
        if installed.returncode:
            last_line = installed.stderr.decode().strip().rpartition("\n")[2]
            raise Unavailable(f"npm can't install what {client} needs: {last_line}")
        done.touch()
    return folder / "node_modules"


def mlserver_python(client: str) -> str:
    """The interpreter of an environment with MLServer."""
    return python_of("mlserver.lock", client)


def python_of(lock: str, client: str) -> str:
    """The interpreter of the environment that a client runs in."""
    try:
        return str(environment(HERE / lock) / "bin" / "python")
    except subprocess.CalledProcessError as error:
        raise Unavailable(f"uv can't install what {client} needs: {error}") from None


def responses(printed: str) -> Responses:
    """What a program has printed, by case."""
    by_case: Responses = defaultdict(list)
    for line in printed.splitlines():
        case, status, body = line.split("\t")
        by_case[case].append(Response(int(status), base64.b64decode(body)))
    return by_case


def output(words: list[str], **options: str) -> str:
    """What a command prints; fails with what it says if it fails."""
    ran = subprocess.run(
        words,
        input=options.pop("input", None),
        env={**os.environ, **options},
        capture_output=True,
        text=True,
        timeout=SECONDS,
    )
    assert ran.returncode == 0, f"{words[:2]}: {ran.returncode}\n{ran.stdout[-500:]}\n{ran.stderr}"
    return ran.stdout


def _cached(name: str, content: bytes) -> Path:
    digest = hashlib.sha256(content).hexdigest()[:12]
    folder = read_settings().cache / "clients" / f"{name}-{digest}"
    folder.mkdir(parents=True, exist_ok=True)
    return folder
