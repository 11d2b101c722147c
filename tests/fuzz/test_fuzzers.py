"""Each fuzzer for some seconds; CI runs them for a minute each, `make fuzz` for long."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

SECONDS = 12
# A process begins with the peak memory of the one that started it, even over exec(2), and
# libFuzzer's limit is upon the peak: between a large pytest and the fuzzer stands a small shell.
SHELL = ["sh", "-c", '"$@"; exit $?', "sh"]
FUZZERS = sorted(
    file.stem for file in Path(__file__).parent.glob("*.py") if "\nwith atheris" in file.read_text()
)


@pytest.mark.parametrize("name", FUZZERS)
def test_a_fuzzer_finds_nothing(name: str, tmp_path: Path) -> None:
    command = [sys.executable, "-W", "ignore", "-m", f"tests.fuzz.{name}"]
    options = [f"-max_total_time={SECONDS}", f"-artifact_prefix={tmp_path}/", "-rss_limit_mb=1500"]
    ended = subprocess.run(
        [*SHELL, *command, *options], capture_output=True, text=True, timeout=300, check=False
    )
    crashes = [file.read_bytes() for file in tmp_path.iterdir()]
    assert ended.returncode == 0, f"{ended.stderr[-3000:]}\n{crashes}"
