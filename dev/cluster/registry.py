"""Images from their registries: whether they can be had is found out by trying."""

from __future__ import annotations

import functools
import select
import subprocess

from .engine import Engine, image_exists
from .progress import say, step
from .shell import attempt, environment

ANSWER_SECONDS = 6.0


@functools.cache
def ensure_pulled(engine: Engine, image: str) -> bool:
    """Have the engine pull an image that it lacks, and say whether it has it now.

    It is the engine that tries: it may know a mirror, a proxy or credentials.
    """
    return image_exists(engine, image) or _pull(engine, image)


@functools.cache
def nodes_can_pull(engine: Engine, image: str) -> bool:
    """Say whether an image can be had as nodes pull it: they don't know the engine's mirrors."""
    inspect = ("docker", "manifest", "inspect", image)
    result = attempt(*inspect, env=engine.env, timeout=ANSWER_SECONDS)
    return result.returncode == 0


def say_built_instead(image: str) -> None:
    """Say what follows from an image that can't be had."""
    say(f"No available registry has {_short(image)}: building from packages instead.")


def _pull(engine: Engine, image: str) -> bool:
    with subprocess.Popen(
        ("docker", "pull", image),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        env=environment(engine.env),
    ) as pull:
        if _has_begun(pull):
            with step(f"Pulling {_short(image)}", expected=30):
                pull.communicate()
        else:
            pull.kill()
    return pull.returncode == 0


def _has_begun(pull: subprocess.Popen[bytes]) -> bool:
    """Wait for the pull's first line, which comes once the registry has named what to fetch."""
    assert pull.stdout is not None
    answered, _, _ = select.select([pull.stdout], [], [], ANSWER_SECONDS)
    return bool(answered) and bool(pull.stdout.readline())


def _short(image: str) -> str:
    return image.partition("@")[0]
