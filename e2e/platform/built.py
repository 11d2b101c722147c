"""An image with a model inside, by the Dockerfile that `mlflow models build-docker` makes."""

from __future__ import annotations

import re
import sys
import tempfile
from pathlib import Path

from mlflow.version import VERSION

from dev.cluster import cluster
from dev.cluster.baseimage import ensure_base_image
from dev.cluster.engine import Engine, build_image, ensure_engine, image_exists
from dev.cluster.files import fingerprint
from dev.cluster.progress import step
from dev.cluster.registry import ensure_pulled
from dev.cluster.settings import read_settings
from dev.cluster.shell import run
from e2e import models

BASE = re.compile(r"^FROM (python:\S+)$", re.MULTILINE)
# What the official image has under these names, from Debian's Python.
LIKE_PYTHON = """ARG BASE_IMAGE
FROM ${BASE_IMAGE}
RUN python3 -m venv /usr/local/python
ENV PATH=/usr/local/python/bin:$PATH
"""


def ensure_built_image(label: str) -> str:
    """Builds the image with the test model of this label, if it is not there; loads it."""
    settings = read_settings()
    engine = ensure_engine(settings)
    base = ensure_base_image(settings, engine)
    inputs = (base, LIKE_PYTHON, label, models.SERVED.read_text(), VERSION)
    image = f"mlflow-model-operator/built:{fingerprint(*inputs)}"
    if not image_exists(engine, image):
        with step("Building an image by MLflow's Dockerfile", expected=120):
            _build(engine, image, base, label)
    cluster.load(settings, [image])
    return image


def _build(engine: Engine, image: str, base: str, label: str) -> None:
    with tempfile.TemporaryDirectory() as folder:
        model, context = Path(folder) / "model", Path(folder) / "context"
        models.save(label, model)
        run(
            *(sys.executable, "-m", "mlflow", "models", "generate-dockerfile"),
            *(f"--model-uri={model}", f"--output-directory={context}", "--env-manager=local"),
            log="image-built",
        )
        dockerfile = context / "Dockerfile"
        dockerfile.write_text(_on_what_is_there(dockerfile.read_text(), engine, base))
        build_image(engine, image, context, "image-built")


def _on_what_is_there(dockerfile: str, engine: Engine, base: str) -> str:
    """The same where its base image can be had, else on an image with the same commands."""
    (wanted,) = BASE.findall(dockerfile)
    if ensure_pulled(engine, wanted):
        return dockerfile
    python = f"mlflow-model-operator/like-python:{fingerprint(base, LIKE_PYTHON)}"
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "Dockerfile").write_text(LIKE_PYTHON)
        build_image(engine, python, Path(folder), "image-built", base_image=base)
    return BASE.sub(f"FROM {python}", dockerfile)
