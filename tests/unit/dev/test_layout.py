"""operator/ is a source root, never a package."""

from __future__ import annotations

import subprocess
from pathlib import Path

from dev.cluster.settings import REPOSITORY

SENTENCE = (
    "operator/__init__.py shadows Python's own module operator: remove it. "
    "operator/ is a source root; the package is operator/mlflow_model_operator."
)


def test_operator_is_no_package() -> None:
    assert not (REPOSITORY / "operator" / "__init__.py").exists(), SENTENCE


def test_make_says_so_where_python_cannot_start(tmp_path: Path) -> None:
    """With the repository on PYTHONPATH, as `make` sets it, not even pytest could be imported."""
    (tmp_path / "operator").mkdir()
    (tmp_path / "operator" / "__init__.py").touch()
    command = ("make", f"--file={REPOSITORY / 'Makefile'}", "check")
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode != 0
    assert SENTENCE in done.stderr
