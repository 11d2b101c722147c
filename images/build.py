"""Brings the cluster up with the project's images in it; builds those that are not fresh.

    python3 -m images.build [operator scoring mlflow]

An image is fresh when it carries the fingerprint of all that goes into it. On a cluster of your own
(CLUSTER=current) the images come from a registry: see images/push.py.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

from dev.cluster import cluster
from dev.cluster.baseimage import BASE_IMAGE, ensure_base_image
from dev.cluster.command import exit_code, one_at_a_time
from dev.cluster.engine import Engine, ensure_engine
from dev.cluster.progress import say, step
from dev.cluster.settings import Settings, read_settings
from dev.cluster.shell import capture, run
from images import push
from images.image import IMAGES, LABEL, Image, build, fingerprint, inspect, oci_annotations, pinned

SIDE_BY_SIDE = 2


def main(names: Sequence[str]) -> None:
    """Brings the cluster up, and gives it the named images, or all."""
    settings = read_settings()
    images = [IMAGES[name] for name in names or IMAGES]
    with one_at_a_time(settings):
        if settings.use_current_cluster:
            cluster.up(settings)
            _push(images, settings)
        else:
            provide(images, settings)


def provide(images: Sequence[Image], settings: Settings) -> None:
    """Builds images while the cluster comes up, and loads them once it has nodes."""
    engine = ensure_engine(settings)
    base = ensure_base_image(settings, engine)
    with ThreadPoolExecutor(SIDE_BY_SIDE) as pool:
        builds = [pool.submit(_ensure, image, base, engine) for image in images]

        def load() -> None:
            for build_ in builds:
                build_.result()
            cluster.load(settings, [image.tag for image in images])

        cluster.up(settings, with_nodes=load)


def _push(images: Sequence[Image], settings: Settings) -> None:
    registry = os.environ.get("REGISTRY")
    if registry:
        push.push(push.read_request(os.environ, [image.name for image in images]), settings)
        return
    tags = ", ".join(image.tag for image in images)
    say(f"CLUSTER=current: its nodes must have {tags}; set REGISTRY to push them.")


def _ensure(image: Image, base: str, engine: Engine) -> None:
    fresh = fingerprint(image, base, engine)
    if inspect(image.tag, f'{{{{index .Config.Labels "{LABEL}"}}}}', engine) == fresh:
        return
    # What the engine made itself has no registry to be found in by its digest.
    immutable = None if base == BASE_IMAGE else pinned(base, engine)
    labels = {LABEL: fresh, **oci_annotations(base, immutable)}
    with step(f"Building the image {image.name}", expected=image.expected):
        build(image, immutable or base, labels, image.tag, engine)
        if image.name == "scoring":
            _tag_by_python(image, engine)


def _tag_by_python(image: Image, engine: Engine) -> None:
    """Tags a scoring image by its Python too (VERSION-py3.11): a registry holds several of them."""
    show = "import sys; print('{}.{}'.format(*sys.version_info))"
    python = ("--entrypoint=python", image.tag, "-c", show)
    minor = capture("docker", "run", "--rm", *python, env=engine.env)
    run("docker", "tag", image.tag, f"{image.tag}-py{minor}", env=engine.env, log="tag")


if __name__ == "__main__":
    sys.exit(exit_code(lambda: main(sys.argv[1:])))
