"""Builds the images for a registry of your own, and pushes them there.

    REGISTRY=registry.example.com/team python3 -m images.push [build | push | names]

Needs Docker and Python, and no cluster. By environment variables:

- REGISTRY: the registry, with the path in front of the images' names. Required.
- PYTHON_VERSIONS: one scoring image is built for each: "3.10 3.11 3.12 3.13".
- IMAGES: which images: "operator scoring"; mlflow is a tracking server for trials.
- TAG: their tag, to which scoring images append -py3.11 and so on: the version.
- BASE_IMAGE: what they start from: "python:{python}-slim".
- PLATFORMS: like linux/amd64,linux/arm64: built by `docker buildx`, which pushes them itself.
- ATTEST: with PLATFORMS, true adds a bill of materials and the provenance to each image.

dist/images.yaml has the chart's values for these images, after a push with their digests.
"""

from __future__ import annotations

import functools
import json
import os
import re
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from dev.cluster.baseimage import BASE_IMAGE, ensure_local_base_image
from dev.cluster.command import exit_code, one_at_a_time
from dev.cluster.engine import Engine, ensure_engine
from dev.cluster.errors import ClusterError
from dev.cluster.progress import say, step
from dev.cluster.registry import ensure_pulled, say_built_instead
from dev.cluster.settings import REPOSITORY, Settings, read_settings
from dev.cluster.shell import run
from images.image import (
    IMAGES,
    VERSION,
    Image,
    build,
    build_flags,
    oci_annotations,
    pinned,
    repository_of,
)

PYTHON_VERSIONS = ("3.10", "3.11", "3.12", "3.13")
OWN_PYTHON = "3.11"  # that images/operator.lock and images/mlflow.lock are made for
DEFAULT_BASE = "python:{python}-slim"
DEFAULT_IMAGES = ("operator", "scoring")
VALUES_FILE = Path("dist") / "images.yaml"
DIGESTS_FILE = Path("dist") / "digests.json"  # for dev/release
EXAMPLE = "REGISTRY=registry.example.com/team"
_REGISTRY = re.compile(r"[a-z0-9][A-Za-z0-9._-]*(:[0-9]+)?(/[a-z0-9][a-z0-9._-]*)*")
_PYTHON = re.compile(r"3\.[0-9]+")
_TAG = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,120}")


@dataclass(frozen=True)
class Target:
    """One image to build, with its name in the registry."""

    image: Image
    python: str
    name: str


@dataclass(frozen=True)
class Request:
    """What was asked for."""

    registry: str
    tag: str
    python_versions: tuple[str, ...]
    images: tuple[str, ...]
    base: str
    platforms: str
    attest: bool

    @property
    def targets(self) -> list[Target]:
        """Each image, and the scoring image for each Python version."""
        return [target for name in self.images for target in self._targets(IMAGES[name])]

    def _targets(self, image: Image) -> list[Target]:
        name = f"{self.registry}/{image.name}:{self.tag}"
        if image.name != "scoring":
            return [Target(image, OWN_PYTHON, name)]
        return [Target(image, minor, f"{name}-py{minor}") for minor in self.python_versions]


def main(arguments: Sequence[str]) -> None:
    """Builds, builds and pushes, or lists."""
    command = arguments[0] if arguments else "push"
    request = read_request(os.environ)
    if command == "names":
        print("\n".join(target.name for target in request.targets))
        return
    settings = read_settings()
    work = {"build": build_all, "push": push}.get(command)
    if work is None:
        raise ClusterError(f"{command} is none of build, push and names.")
    with one_at_a_time(settings):
        work(request, settings)


def read_request(environ: Mapping[str, str], images: Sequence[str] = ()) -> Request:
    """The request that the environment variables state; ClusterError names a wrong one."""
    return Request(
        registry=_registry(environ.get("REGISTRY", "")),
        tag=_matching(_TAG, "TAG", environ.get("TAG") or VERSION, "a tag, like 0.1.0"),
        python_versions=tuple(
            _matching(_PYTHON, "PYTHON_VERSIONS", version, "versions, like 3.11 3.12")
            for version in _words(environ, "PYTHON_VERSIONS") or PYTHON_VERSIONS
        ),
        images=tuple(map(_known_image, _words(environ, "IMAGES") or images or DEFAULT_IMAGES)),
        base=environ.get("BASE_IMAGE") or DEFAULT_BASE,
        platforms=environ.get("PLATFORMS", ""),
        attest=environ.get("ATTEST", "").lower() in ("1", "true"),
    )


def build_all(request: Request, settings: Settings) -> None:
    """Builds all images, for this machine's platform, and writes the values that name them."""
    engine = ensure_engine(settings)
    for target in request.targets:
        _build(target, request, settings, engine)
    _write_values(request, {})


def push(request: Request, settings: Settings) -> None:
    """Builds and pushes all images, and writes the values that name them by digest."""
    engine = ensure_engine(settings)
    push_image = _push_by_buildx if request.platforms else _build_and_push
    digests = {
        target.name: push_image(target, request, settings, engine) for target in request.targets
    }
    file = REPOSITORY / DIGESTS_FILE
    file.parent.mkdir(exist_ok=True)
    file.write_text(json.dumps(digests, indent=2) + "\n", encoding="utf-8")
    _write_values(request, digests)


def values_text(request: Request, digests: Mapping[str, str]) -> str:
    """The chart's values for these images; those that have a digest are named by it."""
    names = {
        target.python: f"{repository_of(target.name)}@{digests[target.name]}"
        for target in request.targets
        if target.image.name == "scoring" and digests.get(target.name)
    }
    operator = digests.get(f"{request.registry}/operator:{request.tag}", "")
    return "".join(
        [
            "# Written by `make push` or `make build`: the images for `helm install --values`.\n",
            f"image:\n  registry: {request.registry}\n  tag: {json.dumps(request.tag)}\n",
            f"  digest: {json.dumps(operator)}\n",
            f"scoringImage:\n  tag: {json.dumps(request.tag)}\n",
            f"  pythonVersions: {json.dumps(request.python_versions)}\n",
            f"scoringImages: {json.dumps(names, indent=2)}\n",
        ]
    )


def _write_values(request: Request, digests: Mapping[str, str]) -> None:
    if not {"operator", "scoring"} <= set(request.images):
        return  # a part of them, like the tracking server: the values are about the others
    file = REPOSITORY / VALUES_FILE
    file.parent.mkdir(exist_ok=True)
    file.write_text(values_text(request, digests), encoding="utf-8")
    say(f"{VALUES_FILE} has the names of the images, for `helm install --values={VALUES_FILE}`.")


def _build(target: Target, request: Request, settings: Settings, engine: Engine) -> None:
    base = _ensure_base(target.python, request, settings, engine)
    immutable = None if base == BASE_IMAGE else pinned(base, engine)
    labels = oci_annotations(base, immutable)
    with step(f"Building {target.name}", expected=target.image.expected):
        build(target.image, immutable or base, labels, target.name, engine)


def _build_and_push(target: Target, request: Request, settings: Settings, engine: Engine) -> str:
    _build(target, request, settings, engine)
    with step(f"Pushing {target.name}", expected=30):
        run("docker", "push", target.name, env=engine.env, log="push")
    return (pinned(target.name, engine) or "").partition("@")[2]


def _push_by_buildx(target: Target, request: Request, settings: Settings, engine: Engine) -> str:
    metadata = settings.cache / "buildx-metadata.json"
    base = request.base.format(python=target.python)
    with step(f"Building and pushing {target.name}", expected=10 * target.image.expected):
        run(
            *("docker", "buildx", "build", f"--platform={request.platforms}", "--push"),
            *build_flags(target.image, base, oci_annotations(base, None), target.name),
            *(("--sbom=true", "--provenance=mode=max") if request.attest else ()),
            *(f"--metadata-file={metadata}", "."),
            env={**engine.env, "DOCKER_BUILDKIT": "1"},
            cwd=REPOSITORY,
            log=f"image-{target.image.name}",
        )
    return str(json.loads(metadata.read_text(encoding="utf-8"))["containerimage.digest"])


def _ensure_base(python: str, request: Request, settings: Settings, engine: Engine) -> str:
    base = request.base.format(python=python)
    if base == BASE_IMAGE:
        ensure_local_base_image(settings, engine)
    elif not ensure_pulled(engine, base):
        return _local_base(base, python, request, settings, engine)
    return base


def _local_base(
    base: str, python: str, request: Request, settings: Settings, engine: Engine
) -> str:
    """Debian's own Python, where no registry can be reached: for one version only."""
    if python != OWN_PYTHON or request.base != DEFAULT_BASE:
        raise ClusterError(
            f"No available registry has {base}: set BASE_IMAGE to images with Python "
            "that you can pull, like "
            f"BASE_IMAGE='mirror.example.com/python:{python}-slim', or leave "
            f"{python} out of PYTHON_VERSIONS."
        )
    _ensure_debian(settings, engine)
    return BASE_IMAGE


@functools.cache
def _ensure_debian(settings: Settings, engine: Engine) -> None:
    say_built_instead(DEFAULT_BASE.format(python=OWN_PYTHON))
    ensure_local_base_image(settings, engine)


def _registry(text: str) -> str:
    if not text:
        raise ClusterError(f"Set REGISTRY to the registry to push to: make push {EXAMPLE}")
    text = text.rstrip("/")
    return _matching(_REGISTRY, "REGISTRY", text, f"a host and a path: {EXAMPLE}")


def _matching(pattern: re.Pattern[str], variable: str, text: str, form: str) -> str:
    if not pattern.fullmatch(text):
        raise ClusterError(f"{variable} has {text!r}: write {form}")
    return text


def _known_image(name: str) -> str:
    if name not in IMAGES:
        raise ClusterError(f"IMAGES has {name!r}, which is none of {', '.join(IMAGES)}")
    return name


def _words(environ: Mapping[str, str], variable: str) -> tuple[str, ...]:
    return tuple(environ.get(variable, "").replace(",", " ").split())


if __name__ == "__main__":
    sys.exit(exit_code(lambda: main(sys.argv[1:])))
