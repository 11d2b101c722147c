"""Brings the cluster up with the project's images in it; builds those that are not fresh.

    python3 -m images.build [operator scoring mlflow]

An image is fresh when it carries the fingerprint of all that goes into it. With CLUSTER=current,
IMAGE_PREFIX names the registry to push to, like registry.example.com/team.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import sys
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from dev.cluster import cluster
from dev.cluster.baseimage import BASE_IMAGE, ensure_base_image
from dev.cluster.command import exit_code, one_at_a_time
from dev.cluster.engine import Engine, ensure_engine
from dev.cluster.progress import say, step
from dev.cluster.settings import REPOSITORY, Settings, read_settings
from dev.cluster.shell import attempt, capture, run

# Read, not imported: this runs before any package is installed.
VERSION_FILE = REPOSITORY / "operator" / "mlflow_model_operator" / "__init__.py"
LABEL = "mlflow-model-operator.dev/fingerprint"
BUILD_LOCK = "images/build.lock"  # what installs the packages in each of them
SIDE_BY_SIDE = 2
SCORING_SOURCES = (
    "scoring/mlflow_model_server",
    "images/scoring.lock",
    "images/mlflow-model-server",
)


def _version() -> str:
    match = re.search(r'^__version__ = "(.+)"$', VERSION_FILE.read_text(), re.MULTILINE)
    assert match, f"{VERSION_FILE} states no version"
    return match[1]


VERSION = _version()


@dataclass(frozen=True)
class Image:
    """One of our images, what goes into it, and how long a build takes on two cores."""

    name: str
    sources: tuple[str, ...]
    expected: float  # seconds

    @property
    def tag(self) -> str:
        """The name that the chart's values and the examples use."""
        return f"mlflow-model-operator/{self.name}:{VERSION}"

    @property
    def dockerfile(self) -> str:
        """Its Dockerfile, from the repository's root."""
        return f"images/{self.name}.Dockerfile"


IMAGES = {
    image.name: image
    for image in (
        Image("operator", ("operator/mlflow_model_operator", "images/operator.lock"), 30),
        Image("scoring", SCORING_SOURCES, 60),
        Image("mlflow", ("images/mlflow.lock",), 60),
    )
}


def main(names: Sequence[str]) -> None:
    """Brings the cluster up, and gives it the named images, or all."""
    settings = read_settings()
    with one_at_a_time(settings):
        provide([IMAGES[name] for name in names or IMAGES], settings)


def provide(images: Sequence[Image], settings: Settings) -> None:
    """Builds images while the cluster comes up, and loads or pushes them once it has nodes."""
    engine = ensure_engine(settings)
    base = ensure_base_image(settings, engine)
    with ThreadPoolExecutor(SIDE_BY_SIDE) as pool:
        built = [pool.submit(_ensure, image, base, engine) for image in images]

        def give() -> None:
            for one in built:
                one.result()
            _give(images, settings, engine)

        cluster.up(settings, with_nodes=give)


def _give(images: Sequence[Image], settings: Settings, engine: Engine) -> None:
    if settings.use_current_cluster:
        _push(images, engine)
    else:
        cluster.load(settings, [image.tag for image in images])


def _ensure(image: Image, base: str, engine: Engine) -> None:
    fingerprint = _fingerprint(image, base, engine)
    if _inspect(image.tag, f'{{{{index .Config.Labels "{LABEL}"}}}}', engine) == fingerprint:
        return
    # What the engine made itself has no registry to be found in by its digest.
    pinned = None if base == BASE_IMAGE else _pinned(base, engine)
    labels = {LABEL: fingerprint, **_annotations(base, pinned)}
    with step(f"Building the image {image.name}", expected=image.expected):
        run(
            "docker",
            "build",
            f"--file={image.dockerfile}",
            f"--build-arg=BASE_IMAGE={pinned or base}",
            f"--build-arg=VERSION={VERSION}",
            *(f"--label={name}={value}" for name, value in labels.items()),
            f"--tag={image.tag}",
            ".",
            env=engine.env,
            cwd=REPOSITORY,
            log=f"image-{image.name}",
        )
        if image.name == "scoring":
            _tag_by_python(image, engine)


def _tag_by_python(image: Image, engine: Engine) -> None:
    """Tags a scoring image by its Python too (VERSION-py3.11): a registry holds several of them."""
    show = "import sys; print('{}.{}'.format(*sys.version_info))"
    python = ("--entrypoint=python", image.tag, "-c", show)
    minor = capture("docker", "run", "--rm", *python, env=engine.env)
    run("docker", "tag", image.tag, f"{image.tag}-py{minor}", env=engine.env, log="tag")


def _annotations(base: str, pinned: str | None) -> dict[str, str]:
    """The OCI annotations that depend on the build; the others are in the Dockerfiles."""
    annotations = {
        "version": VERSION,
        "revision": _revision(),
        "base.name": base,
        "base.digest": (pinned or "").partition("@")[2],
    }
    prefix = "org.opencontainers.image"
    return {f"{prefix}.{name}": value for name, value in annotations.items() if value}


def _revision() -> str:
    """The commit, with -dirty if files differ from it; "" outside of a Git repository."""
    describe = ("describe", "--always", "--dirty", "--abbrev=40", "--exclude=*")
    return attempt("git", "-C", REPOSITORY, *describe).stdout.strip()


def _pinned(name: str, engine: Engine) -> str | None:
    """The immutable name of an image that was pulled or pushed: its digest instead of its tag."""
    digests = _inspect(name, "{{json .RepoDigests}}", engine) or "[]"
    repository = name.rpartition(":")[0] if ":" in name.rpartition("/")[2] else name
    return next((name for name in json.loads(digests) if name.startswith(f"{repository}@")), None)


def _fingerprint(image: Image, base: str, engine: Engine) -> str:
    digest = hashlib.sha256((_inspect(base, "{{.Id}}", engine) or base).encode())
    for path in _files([image.dockerfile, BUILD_LOCK, *image.sources]):
        digest.update(str(path.relative_to(REPOSITORY)).encode() + b"\0" + path.read_bytes())
    return digest.hexdigest()[:16]


def _files(sources: Iterable[str]) -> list[Path]:
    found: list[Path] = []
    for source in sources:
        path = REPOSITORY / source
        inside = path.rglob("*") if path.is_dir() else [path]
        found += [one for one in inside if one.is_file() and "__pycache__" not in one.parts]
    return sorted(found)


def _inspect(name: str, template: str, engine: Engine) -> str | None:
    done = attempt("docker", "image", "inspect", f"--format={template}", name, env=engine.env)
    return done.stdout.strip() if done.returncode == 0 else None


def _push(images: Sequence[Image], engine: Engine) -> None:
    prefix = os.environ.get("IMAGE_PREFIX")
    if not prefix:
        tags = ", ".join(image.tag for image in images)
        say(f"CLUSTER=current: its nodes must have {tags}; set IMAGE_PREFIX to push them.")
        return
    for image in images:
        remote = f"{prefix}/{image.name}:{VERSION}"
        with step(f"Pushing {remote}", expected=30):
            run("docker", "tag", image.tag, remote, env=engine.env, log="push")
            run("docker", "push", remote, env=engine.env, log="push")
        if pinned := _pinned(remote, engine):
            say(f"Its digest, for the chart's values: {pinned}")


if __name__ == "__main__":
    sys.exit(exit_code(lambda: main(sys.argv[1:])))
