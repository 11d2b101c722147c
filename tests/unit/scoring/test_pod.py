"""What concerns the pod: its CPU limit, and the authorities that it trusts."""

from __future__ import annotations

import dataclasses
import os
from pathlib import Path

import pytest

from mlflow_model_server import trust
from mlflow_model_server.settings import Settings, SettingsError
from mlflow_model_server.threads import cpu_limit, limit_threads


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


def test_a_ca_bundle_is_trusted_beside_the_public_ones(
    settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "environ", {})
    (tmp_path / "ca.crt").write_text("OURS")
    trust.add_ca_bundle(dataclasses.replace(settings, ca_bundle=tmp_path / "ca.crt"))
    trusted = Path(os.environ["SSL_CERT_FILE"]).read_text()
    assert trusted.rstrip().endswith("OURS") and "BEGIN CERTIFICATE" in trusted
    assert os.environ["REQUESTS_CA_BUNDLE"] == os.environ["SSL_CERT_FILE"]


def test_a_ca_bundle_that_is_not_there_is_told(settings: Settings, tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="which can't be read"):
        trust.add_ca_bundle(dataclasses.replace(settings, ca_bundle=tmp_path / "gone"))
