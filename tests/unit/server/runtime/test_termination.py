from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlflow_model_server.runtime.termination import (
    MAX_MESSAGE_BYTES,
    StartupError,
    bounded,
    last_line,
    redact_urls,
    write_termination_message,
)


def test_the_word_is_one_json_object(tmp_path: Path) -> None:
    write_termination_message(StartupError("InvalidModel", "no\nmodel  here"), tmp_path / "log")
    told = json.loads((tmp_path / "log").read_text())
    assert told == {"reason": "InvalidModel", "message": "no model here"}


def test_no_place_for_the_word_is_no_failure(tmp_path: Path) -> None:
    write_termination_message(StartupError("InvalidModel", "no model"), tmp_path / "none" / "log")


@pytest.mark.parametrize(
    ("text", "clean"),
    [
        ("at https://me:pw@example.com/simple/", "at https://***@example.com/simple/"),
        ("`https://token@example.com`", "`https://***@example.com`"),
        ("git+https://x:y@example.com/a.git", "git+https://***@example.com/a.git"),
        ("'https://s3.example.com/k?sig=1&b=2'", "'https://s3.example.com/k?***'"),
        (
            "(https://a.example.com/k?sig=1),https://b/?c",
            "(https://a.example.com/k?***),https://b/?***",
        ),
        ("https://a/b:c/https://d/e?sig=1", "https://a/b:c/https://d/e?***"),
        ("models:/wine@champion", "models:/wine@champion"),
        ("me@example.com", "me@example.com"),
    ],
)
def test_passwords_and_signatures_are_taken_out_of_urls(text: str, clean: str) -> None:
    assert redact_urls(text) == clean


@given(st.text())
def test_a_message_is_one_line_of_bounded_length(text: str) -> None:
    line = bounded(text)
    assert len(line.encode()) <= MAX_MESSAGE_BYTES
    assert line.splitlines() in ([], [line])


def test_too_long_a_message_keeps_its_ends() -> None:
    line = bounded("begin " + "x" * 5000 + " end")
    assert line.startswith("begin") and line.endswith("end")


def test_an_exception_is_told_by_its_type_and_last_line() -> None:
    assert last_line(ValueError("first\n\nlast\n")) == "ValueError: last"
    assert last_line(KeyboardInterrupt()) == "KeyboardInterrupt"


def test_of_pytorchs_errors_of_a_gpu_the_first_line_says_what_is_wrong() -> None:
    error = RuntimeError(
        "CUDA error: no kernel image is available for execution on the device\n"
        "For debugging consider passing CUDA_LAUNCH_BLOCKING=1\n"
        "Compile with `TORCH_USE_CUDA_DSA` to enable device-side assertions.\n"
    )
    assert last_line(error) == (
        "RuntimeError: CUDA error: no kernel image is available for execution on the device"
    )
