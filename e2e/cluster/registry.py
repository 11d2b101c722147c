"""Whether an image registry can be reached, found out by trying."""

from __future__ import annotations

import functools

from .engine import Engine, image_exists
from .progress import say
from .shell import attempt

TRY_SECONDS = 6.0


@functools.cache
def registry_answers(engine: Engine, image: str) -> bool:
    """Say whether this image can be had from its registry (or is already here)."""
    if image_exists(engine, image):
        return True
    result = attempt("docker", "manifest", "inspect", image, env=engine.env, timeout=TRY_SECONDS)
    if result.returncode != 0:
        say(f"No registry answers for {image.partition('@')[0]}: building from packages instead.")
    return result.returncode == 0
