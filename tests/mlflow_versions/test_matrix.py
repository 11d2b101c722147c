"""Models that other versions of MLflow have saved, as the shipped server prepares and serves them.

Each version saves them in an environment of its own, with the packages of its time; they are then
prepared from PyPI in an environment as the image has it. `make test` has a part of them, and
`make mlflow-matrix` (MLFLOW_MATRIX=full) all. docs/compatibility.md says what is supported.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import ssl
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import requests

from benchmarks.environments import environment
from mlflow_model_server import baseline
from mlflow_model_server.settings import Settings
from tests.mlflow_versions.save_model import flat
from tests.unit.server.image import as_user_of_image, image, last
from tests.unit.server.process import REPOSITORY, SECONDS_TO_START, wait_until

HERE = Path(__file__).parent
IMAGE_LOCK = REPOSITORY / "images/scoring.lock"
OWN = "3.17.2"  # the image's, and the newest; the tests' own environment has it
# The oldest and the newest of 2.x and of 3.x, and the version that then serves.
VERSIONS = {"2.0.0": OWN, "2.22.5": OWN, "3.0.0": "3.0.0", OWN: OWN}
FLAVORS = ["sklearn", "pyfunc", "xgboost", "lightgbm", "onnx"]
# What authors have to name where MLflow 2.0 did not: packages of its time are built for NumPy 1 and
# don't say so, so that they get NumPy 2 today, here as by `mlflow models serve`.
NAMED = {("2.0.0", flavor): ["numpy"] for flavor in FLAVORS if flavor != "pyfunc"}
REDUCED = [(version, flavor) for version in ("2.0.0", OWN) for flavor in FLAVORS[:2]]
ALL = [(version, flavor) for version in VERSIONS for flavor in FLAVORS]
CASES = ALL if os.environ.get("MLFLOW_MATRIX") == "full" else REDUCED
SECONDS_TO_SAVE = 600
SECONDS_TO_PREPARE = 900


@pytest.fixture(scope="session", autouse=True)
def _pypi() -> None:
    try:
        requests.head("https://pypi.org/simple/mlflow/", timeout=30).raise_for_status()
    except requests.RequestException:
        pytest.skip("not run: PyPI can't be reached")


def author(version: str) -> str:
    """The interpreter of those who save with this version."""
    if version == OWN:
        return sys.executable
    return str(environment(HERE / f"mlflow-{version}.lock") / "bin" / "python")


def save(version: str, flavor: str, folder: Path) -> dict[str, Any]:
    """Returns what the model is to be asked, and what it has predicted for its author."""
    env = {**os.environ, "MLFLOW_TRACKING_URI": (folder / "mlruns").as_uri()}
    env.pop("PYTHONPATH", None)
    named = NAMED.get((version, flavor), [])
    saved = subprocess.run(
        [author(version), str(HERE / "save_model.py"), flavor, str(folder), *named],
        env=env,
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=SECONDS_TO_SAVE,
    )
    assert saved.returncode == 0, saved.stderr[-3000:]
    expected: dict[str, Any] = json.loads((folder / "expected.json").read_text())
    return expected


def writable_model_dir(folder: Path) -> Path:
    """A volume that the image's user may write."""
    model_dir = folder / "volume"
    model_dir.mkdir()
    if as_user_of_image():
        uid, _, gid = last("USER").partition(":")
        os.chown(model_dir, int(uid), int(gid))
    return model_dir


def trusted_here() -> dict[str, str]:
    """What this machine trusts, whose way to PyPI may lead through a proxy."""
    file = ssl.get_default_verify_paths().cafile
    return {"CA_BUNDLE": file} if file else {}


@pytest.mark.parametrize(("version", "flavor"), CASES)
def test_models_are_served_as_their_authors_have_them(
    tmp_path: Path, unused_tcp_port_factory: Callable[[], int], version: str, flavor: str
) -> None:
    expected = save(version, flavor, tmp_path)
    settings = Settings(model_dir=writable_model_dir(tmp_path))
    python = str(environment(IMAGE_LOCK) / "bin" / "python")
    variables = {"MODEL_URI": str(tmp_path / "model"), **trusted_here()}
    try:
        with image(settings, unused_tcp_port_factory(), "prepare", python, **variables) as prepare:
            ended = prepare.process.wait(SECONDS_TO_PREPARE)
            log = prepare.output.read_text()
            assert ended == 0, log[-3000:]
        with image(settings, unused_tcp_port_factory(), "serve", python, **variables) as server:
            wait_until(server.answers, "the server answers", 2 * SECONDS_TO_START)
            answer = server.predict(expected["body"], timeout=240)
            assert answer.ok, f"{answer.text}\n{log}\n{server.output.read_text()[-3000:]}"
            assert np.allclose(flat(answer.json()["predictions"]), expected["predicted"], rtol=1e-6)
            assert requests.get(server.url("/version"), timeout=60).text == VERSIONS[version]
    finally:
        shutil.rmtree(settings.model_dir, ignore_errors=True)


@pytest.mark.parametrize("version", sorted({version for version, _ in CASES} - {OWN}))
def test_training_code_keeps_its_mlflow(version: str, tmp_path: Path) -> None:
    """`pip install ./scoring` beside an older MLflow, and a baseline by its code."""
    python = author(version)
    install = [sys.executable, "-m", "uv", "pip", "install", "--dry-run", "--python", python]
    done = subprocess.run(
        [*install, REPOSITORY / "scoring"], capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stderr
    assert " + mlflow-model-server @ " in done.stderr
    assert not re.findall(r"^ [-+~] mlflow(?!-model-server).*", done.stderr, re.M)

    program = (
        "import sys; from pathlib import Path; import mlflow, pandas\n"
        "from mlflow_model_server import baseline\n"
        "baseline.save(Path(sys.argv[1]), pandas.DataFrame({'x': [1.0, 2.0]}), [1.0, 2.0])\n"
        "print(mlflow.__version__)"
    )
    env = {**os.environ, "PYTHONPATH": str(REPOSITORY / "scoring")}
    done = subprocess.run(
        [python, "-c", program, tmp_path], env=env, capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == version
    assert (tmp_path / baseline.FILE).is_file()
