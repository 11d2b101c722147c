from __future__ import annotations

from pathlib import Path

import pytest

from mlflow_model_server.settings import Settings


@pytest.fixture
def model(tmp_path: Path) -> Path:
    """An empty model folder."""
    folder = tmp_path / "source"
    folder.mkdir()
    return folder


@pytest.fixture
def wheels(tmp_path: Path) -> Path:
    folder = tmp_path / "wheels"
    folder.mkdir()
    return folder


@pytest.fixture
def settings(tmp_path: Path, model: Path, wheels: Path) -> Settings:
    """Settings for `model`, which take packages from the folder `wheels` and nowhere else."""
    model_dir = tmp_path / "model"
    model_dir.mkdir()
    (model_dir / "artifact").symlink_to(model)
    return Settings(
        model_uri=str(model),
        model_dir=model_dir,
        find_links=(str(wheels),),
        no_index=True,
        termination_log=tmp_path / "termination-log",
    )
