"""The project's images: what goes into each of them, and how one is built."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from dev.cluster.engine import Engine
from dev.cluster.settings import REPOSITORY
from dev.cluster.shell import attempt, run

# Read, not imported: this runs before any package is installed.
VERSION_FILE = REPOSITORY / "operator" / "mlflow_model_operator" / "__init__.py"
LABEL = "mlflow-model-operator.dev/fingerprint"
BUILD_LOCK = "images/build.lock"  # what installs the packages in each of them
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
        """Its name in the project's own cluster, and in no registry."""
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


def build_flags(image: Image, base: str, labels: Mapping[str, str], tag: str) -> list[str]:
    """The arguments of `docker build`, and of `docker buildx build`, but for the context."""
    return [
        f"--file={image.dockerfile}",
        f"--build-arg=BASE_IMAGE={base}",
        f"--build-arg=VERSION={VERSION}",
        *(f"--label={name}={value}" for name, value in labels.items()),
        f"--tag={tag}",
    ]


def build(image: Image, base: str, labels: Mapping[str, str], tag: str, engine: Engine) -> None:
    """Builds an image for this machine's platform."""
    flags = build_flags(image, base, labels, tag)
    run(
        *("docker", "build", *flags, "."),
        env=engine.env,
        cwd=REPOSITORY,
        log=f"image-{image.name}",
    )


def oci_annotations(base: str, pinned_base: str | None) -> dict[str, str]:
    """The OCI annotations that depend on the build; the others are in the Dockerfiles."""
    values = {
        "version": VERSION,
        "revision": revision(),
        "base.name": base,
        "base.digest": (pinned_base or "").partition("@")[2],
    }
    prefix = "org.opencontainers.image"
    return {f"{prefix}.{name}": value for name, value in values.items() if value}


def revision() -> str:
    """The commit, with -dirty if files differ from it; "" outside of a Git repository."""
    describe = ("describe", "--always", "--dirty", "--abbrev=40", "--exclude=*")
    return attempt("git", "-C", REPOSITORY, *describe).stdout.strip()


def pinned(name: str, engine: Engine) -> str | None:
    """The immutable name of an image that was pulled or pushed: its digest instead of its tag."""
    digests = inspect(name, "{{json .RepoDigests}}", engine) or "[]"
    repository = repository_of(name)
    return next((name for name in json.loads(digests) if name.startswith(f"{repository}@")), None)


def repository_of(name: str) -> str:
    """An image's name without its tag."""
    return name.rpartition(":")[0] if ":" in name.rpartition("/")[2] else name


def fingerprint(image: Image, base: str, engine: Engine) -> str:
    """Changes whenever anything that goes into the image does."""
    digest = hashlib.sha256((inspect(base, "{{.Id}}", engine) or base).encode())
    for path in files([image.dockerfile, BUILD_LOCK, *image.sources]):
        digest.update(str(path.relative_to(REPOSITORY)).encode() + b"\0" + path.read_bytes())
    return digest.hexdigest()[:16]


def files(sources: Iterable[str]) -> Sequence[Path]:
    """All files below these paths, but for compiled ones."""
    paths = [REPOSITORY / source for source in sources]
    inside = [file for path in paths for file in (path.rglob("*") if path.is_dir() else [path])]
    return sorted(file for file in inside if file.is_file() and "__pycache__" not in file.parts)


def inspect(name: str, template: str, engine: Engine) -> str | None:
    """What the engine says of an image that it has; None if it has none of that name."""
    done = attempt("docker", "image", "inspect", f"--format={template}", name, env=engine.env)
    return done.stdout.strip() if done.returncode == 0 else None
