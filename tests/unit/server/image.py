"""A container of the scoring image, as far as one can be had without an engine.

Its entrypoint, its user, its variables and its working folder, as the Dockerfile says.
"""

from __future__ import annotations

import os
import re
import shlex
import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager

from mlflow_model_server.settings import Settings
from tests.unit.server.process import (
    ENTRYPOINT,
    REPOSITORY,
    Server,
    environment_of_server,
    started,
)

DOCKERFILE = (REPOSITORY / "images/scoring.Dockerfile").read_text().replace("\\\n", " ")


def variables() -> dict[str, str]:
    """Those of the Dockerfile, without PATH."""
    lines = re.findall(r"^ENV (.+)$", DOCKERFILE, re.M)
    pairs = [pair.partition("=") for line in lines for pair in shlex.split(line)]
    return {name: value for name, _, value in pairs if name != "PATH"}


def last(instruction: str) -> str:
    return str(re.findall(rf"^{instruction} (.+)$", DOCKERFILE, re.M)[-1])


def as_user_of_image() -> list[str]:
    """What runs a command as the image's user, where the tests may do so.

    The user may read all files, as the tests' own are root's, and write its own only.
    """
    if os.getuid() != 0 or not shutil.which("setpriv"):
        return []
    uid, _, gid = last("USER").partition(":")
    readable = ["--inh-caps=-all,+dac_read_search", "--ambient-caps=-all,+dac_read_search"]
    return ["setpriv", f"--reuid={uid}", f"--regid={gid}", "--clear-groups", *readable]


@contextmanager
def image(
    settings: Settings, port: int, command: str, python: str = sys.executable, **more: str
) -> Iterator[Server]:
    """Runs one of the entrypoint's commands; `more` are variables. Kills it in the end."""
    env = {"PATH": os.environ["PATH"], **variables(), **more}
    server_env = environment_of_server(MODEL_DIR=str(settings.model_dir), PORT=str(port))
    for name in ("PYTHONPATH", "METRICS_PORT", "MODEL_DIR", "PORT"):
        env[name] = server_env[name]
    words = [*as_user_of_image(), python, str(ENTRYPOINT), command]
    with started(words, env, port, settings.termination_log, cwd=last("WORKDIR")) as server:
        yield server
