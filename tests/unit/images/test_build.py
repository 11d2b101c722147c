"""What the images say of themselves, and what they are built from."""

from __future__ import annotations

import json

import pytest

from dev.cluster.engine import Engine
from dev.cluster.settings import REPOSITORY
from images import image as image_module
from images.image import IMAGES, VERSION, Image, oci_annotations, pinned

DIGEST = "sha256:" + "1" * 64
ENGINE = Engine(ours=False)
images = pytest.mark.parametrize("image", IMAGES.values(), ids=IMAGES)


def dockerfile(image: Image) -> str:
    return (REPOSITORY / image.dockerfile).read_text(encoding="utf-8")


@images
def test_labels_are_those_of_the_final_image(image: Image) -> None:
    final = dockerfile(image).rpartition("\nFROM ")[2]
    for name in ("title", "description", "licenses"):
        assert f"org.opencontainers.image.{name}=" in final


@images
def test_a_bill_of_materials_is_in_the_image(image: Image) -> None:
    build_stage, _, final = dockerfile(image).rpartition("\nFROM ")
    made = build_stage.index("cyclonedx-py environment")
    assert build_stage.rindex("uv pip") < made, "packages were changed after they were listed"
    path = f"/usr/local/share/sbom/{image.name}.cdx.json"
    assert f"COPY --from=build /opt/sbom.cdx.json {path}\n" in final


@images
def test_nothing_is_installed_without_its_hash(image: Image) -> None:
    installs = dockerfile(image).count("pip install")
    assert installs == dockerfile(image).count("--no-deps --require-hashes") == 2


OURS = "r.example.com:5000/a/b"


@pytest.mark.parametrize(
    ("name", "digests", "immutable"),
    [
        ("python:3.11-slim", [f"python@{DIGEST}"], f"python@{DIGEST}"),
        ("python", [f"python@{DIGEST}"], f"python@{DIGEST}"),
        (f"{OURS}:1", [f"x/b@{DIGEST}", f"{OURS}@{DIGEST}"], f"{OURS}@{DIGEST}"),
        (OURS, [f"{OURS}@{DIGEST}"], f"{OURS}@{DIGEST}"),
        ("python:3.11-slim", [f"else@{DIGEST}"], None),
        ("python:3.11-slim", [], None),
        ("python:3.11-slim", None, None),
    ],
)
def test_images_of_registries_are_named_by_digest(
    name: str, digests: list[str] | None, immutable: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    shown = None if digests is None else json.dumps(digests)
    monkeypatch.setattr(image_module, "inspect", lambda *_: shown)

    assert pinned(name, ENGINE) == immutable


def test_annotations_say_what_was_built_from_what(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(image_module, "revision", lambda: "abc-dirty")

    assert oci_annotations("python:3.11-slim", f"python@{DIGEST}") == {
        "org.opencontainers.image.version": VERSION,
        "org.opencontainers.image.revision": "abc-dirty",
        "org.opencontainers.image.base.name": "python:3.11-slim",
        "org.opencontainers.image.base.digest": DIGEST,
    }
    assert "org.opencontainers.image.base.digest" not in oci_annotations("base:1", None)


def test_outside_of_git_no_revision_is_made_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(image_module, "revision", lambda: "")
    assert "org.opencontainers.image.revision" not in oci_annotations("base:1", None)
