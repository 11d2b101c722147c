"""The scoring image's packages and the server, with each Python that images are made for.

An environment for each is made from images/scoring.lock, as an image is; the first run downloads
them. A Python that this machine lacks is listed as skipped, and was not tested.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from dev.cluster.settings import REPOSITORY, read_settings
from images.push import PYTHON_VERSIONS

LOCK = REPOSITORY / "images" / "scoring.lock"


def interpreter(minor: str) -> Path:
    """A Python of this version, anywhere that uv finds one."""
    search = ("uv", "python", "find", "--no-project", "--no-python-downloads", minor)
    done = subprocess.run(search, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        pytest.skip(f"not tested with Python {minor}: install it, e.g. `uv python install {minor}`")
    return Path(done.stdout.strip())


def environment(minor: str) -> Path:
    """The interpreter of an environment with what the lock file says for this Python."""
    folder = read_settings().cache / "pythons" / minor
    python = folder / "bin" / "python"
    if not python.exists():
        uv("venv", "--quiet", "--clear", f"--python={interpreter(minor)}", folder)
    install = ("pip", "sync", "--quiet", f"--python={python}", "--require-hashes", LOCK)
    uv(*install)
    return python


def uv(*arguments: str | Path) -> None:
    subprocess.run(("uv", *arguments), check=True)


@pytest.mark.parametrize("minor", PYTHON_VERSIONS)
def test_models_are_served_by_the_python_that_logged_them(minor: str, tmp_path: Path) -> None:
    python = environment(minor)
    path = os.pathsep.join((str(REPOSITORY / "scoring"), str(REPOSITORY)))

    done = subprocess.run(
        (python, "-m", "tests.pythons.serve", tmp_path),
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": path, "MLFLOW_DISABLE_TELEMETRY": "true"},
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )

    predictions = json.loads(done.stdout.splitlines()[-1])
    assert predictions["linear"] == pytest.approx([6.0])
    assert predictions["pyfunc"] == [{"x": 6.0}]
    assert_code_is_refused_by_another_python(tmp_path, minor)


def assert_code_is_refused_by_another_python(folder: Path, minor: str) -> None:
    """What the model of code does in the image of another Python: it is refused, not served."""
    if minor == ".".join(map(str, sys.version_info[:2])):
        return
    log = folder / "refusal"
    environment = {
        **os.environ,
        "PYTHONPATH": str(REPOSITORY / "scoring"),
        "MODEL_URI": str(folder / "pyfunc"),
        "MODEL_DIR": str(folder / "other"),
        "TERMINATION_LOG": str(log),
    }
    command = (sys.executable, "-m", "mlflow_model_server", "prepare")
    assert subprocess.run(command, env=environment, check=False).returncode == 1
    word = json.loads(log.read_text())
    assert word["reason"] == "PythonVersionUnsupported"
    assert f"logged with Python {minor}." in word["message"]
