"""The container's limits: they are read, and kept."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from mlflow_model_server.runtime import cgroup
from mlflow_model_server.runtime.cgroup import cpu_limit, limit_threads, thread_limit
from tests.unit.server.process import environment_of_server


@pytest.mark.parametrize(
    ("files", "limit"),
    [
        ({"cpu.max": "150000 100000\n"}, 1.5),
        ({"cpu.max": "max 100000\n"}, None),
        ({"cpu/cpu.cfs_quota_us": "200000\n", "cpu/cpu.cfs_period_us": "100000\n"}, 2.0),
        ({"cpu/cpu.cfs_quota_us": "-1\n", "cpu/cpu.cfs_period_us": "100000\n"}, None),
        ({}, None),
    ],
)
def test_the_cpu_limit_is_read(tmp_path: Path, files: dict[str, str], limit: float | None) -> None:
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
    assert cpu_limit(tmp_path) == limit


def test_workers_share_the_cpu_limit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "cpu.max").write_text("400000 100000\n")
    monkeypatch.setattr(os, "environ", {"MKL_NUM_THREADS": "7"})
    limit_threads(workers=2, cgroup=tmp_path)
    assert os.environ["OMP_NUM_THREADS"] == "2"
    assert os.environ["MKL_NUM_THREADS"] == "7"


def test_onnx_runtime_s_threads_are_those_of_other_libraries(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for text, threads in (("3", 3), ("2,1", 2), ("", None), ("many", None), ("0", None)):
        monkeypatch.setenv("OMP_NUM_THREADS", text)
        assert thread_limit() == threads


@pytest.mark.parametrize(
    ("files", "limit"),
    [
        ({"memory.max": "1073741824\n"}, 2**30),
        ({"memory.max": "max\n"}, None),
        ({"memory/memory.limit_in_bytes": "536870912\n"}, 2**29),
        ({"memory/memory.limit_in_bytes": "9223372036854771712\n"}, None),
        ({}, None),
    ],
)
def test_the_memory_limit_is_read(tmp_path: Path, files: dict[str, str], limit: int | None) -> None:
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
    assert cgroup.memory_limit(tmp_path) == limit


def test_memory_runs_out_before_the_container_is_killed() -> None:
    program = (
        "from mlflow_model_server.runtime import cgroup\n"
        "cgroup.limit_memory(200 * 2**20)\nbytearray(300 * 2**20)"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], env=environment_of_server(), capture_output=True, text=True
    )
    assert done.stderr.splitlines()[-1] == "MemoryError"
