"""The authorities that the pod trusts."""

from __future__ import annotations

import dataclasses
import os
from pathlib import Path

import pytest

from mlflow_model_server.runtime import ca_certificates
from mlflow_model_server.settings import Settings, SettingsError


def test_a_ca_bundle_is_trusted_beside_the_public_ones(
    settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "environ", {})
    (tmp_path / "ca.crt").write_text("OURS")
    ca_certificates.add_ca_bundle(dataclasses.replace(settings, ca_bundle=tmp_path / "ca.crt"))
    trusted = Path(os.environ["SSL_CERT_FILE"]).read_text()
    assert trusted.rstrip().endswith("OURS") and "BEGIN CERTIFICATE" in trusted
    assert os.environ["REQUESTS_CA_BUNDLE"] == os.environ["SSL_CERT_FILE"]


def test_a_ca_bundle_that_is_not_there_is_told(settings: Settings, tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="which can't be read"):
        ca_certificates.add_ca_bundle(dataclasses.replace(settings, ca_bundle=tmp_path / "gone"))
