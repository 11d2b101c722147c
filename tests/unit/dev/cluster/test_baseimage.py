"""Root filesystems from Debian packages."""

from __future__ import annotations

from pathlib import Path

import pytest

from dev.cluster import packages
from dev.cluster.baseimage import root_filesystem
from dev.cluster.errors import ClusterError
from dev.cluster.settings import read_settings


@pytest.mark.parametrize(
    ("there", "missing"),
    [((), "mmdebstrap, debian-archive-keyring, uidmap"), (("mmdebstrap",), "uidmap")],
)
def test_who_is_not_root_is_told_all_packages_that_are_missing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, there: tuple[str, ...], missing: str
) -> None:
    monkeypatch.setattr("os.geteuid", lambda: 1000)
    monkeypatch.setattr(packages, "which", lambda program: program if program in there else None)

    with pytest.raises(ClusterError, match=f"install them first: {missing}\\."):
        root_filesystem(read_settings({"MMO_CACHE": str(tmp_path)}), "base", ["python3"])
