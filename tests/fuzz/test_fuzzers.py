"""Each fuzzer for some seconds; `make fuzz` runs them for long."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

SECONDS = 12
FUZZERS = sorted(
    file.stem for file in Path(__file__).parent.glob("*.py") if "\nwith atheris" in file.read_text()
)


@pytest.mark.parametrize("name", FUZZERS)
def test_a_fuzzer_finds_nothing(name: str, tmp_path: Path) -> None:
    command = [sys.executable, "-W", "ignore", "-m", f"tests.fuzz.{name}"]
    options = [f"-max_total_time={SECONDS}", f"-artifact_prefix={tmp_path}/", "-rss_limit_mb=1500"]
    ended = subprocess.run(
        [*command, *options], capture_output=True, text=True, timeout=300, check=False
    )
    crashes = [file.read_bytes() for file in tmp_path.iterdir()]
    assert ended.returncode == 0, f"{ended.stderr[-3000:]}\n{crashes}"
