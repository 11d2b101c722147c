"""What people see of steps that run one after the other, and side by side."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from dev.cluster.progress import say, step
from dev.cluster.settings import REPOSITORY


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("MMO_CACHE", str(tmp_path))
    return tmp_path


def shown(capsys: pytest.CaptureFixture[str]) -> list[str]:
    """The lines, without how long anything took."""
    return [line.rstrip("0123456789. s") for line in capsys.readouterr().err.splitlines()]


def test_a_step_has_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    with step("One"):
        pass
    with step("Two", expected=30):
        pass
    assert shown(capsys) == ["One …", "Two (about 30 s) …"]


def test_what_is_said_meanwhile_has_a_line_of_its_own(capsys: pytest.CaptureFixture[str]) -> None:
    with step("One"):
        say("By the way")
    assert shown(capsys) == ["One …", "By the way", "One …"]


def test_a_step_of_another_process_does_not_end_our_line(
    capsys: pytest.CaptureFixture[str],
) -> None:
    with step("Ours"):
        other = [sys.executable, "-m", "dev.cluster.progress", "Theirs", "--", "true"]
        told = subprocess.run(other, cwd=REPOSITORY, capture_output=True, text=True, check=True)
    assert told.stderr.startswith("\nTheirs … ")
    assert shown(capsys) == ["Ours … Ours …"]


def test_a_failed_step_says_so(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(ZeroDivisionError), step("One"):
        raise ZeroDivisionError
    assert shown(capsys) == ["One … failed after"]
