"""What `make push` builds, under which names, and what it says of wrong requests."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml

from dev.cluster.engine import Engine
from dev.cluster.errors import ClusterError
from dev.cluster.settings import REPOSITORY, read_settings
from images import image as image_module
from images import push
from images.constraints import constraints
from images.push import Request, read_request
from tests.unit.chart.conftest import helm as helm
from tests.unit.chart.rendering import Helm, container

REGISTRY = "registry.example.com:5000/team"
DIGEST = "sha256:" + "2" * 64
ENGINE = Engine(ours=False)


def request(**variables: str) -> Request:
    return read_request({"REGISTRY": REGISTRY, **variables})


def test_each_python_has_a_scoring_image() -> None:
    names = [target.name for target in request().targets]
    assert names == [
        f"{REGISTRY}/operator:0.1.0",
        *(f"{REGISTRY}/scoring:0.1.0-py{minor}" for minor in ("3.10", "3.11", "3.12", "3.13")),
    ]


def test_the_names_are_those_of_the_chart(helm: Helm) -> None:
    """What is pushed is what the chart runs, given the registry only."""
    names = {target.name for target in request().targets}

    operator = container(helm.render(image={"registry": REGISTRY}))

    variables = {entry["name"]: entry.get("value") for entry in operator["env"]}
    images = json.loads(variables["MMO_SCORING_IMAGES"])
    assert {operator["image"], *images.values()} == names


def test_a_request_may_be_for_less() -> None:
    some = request(PYTHON_VERSIONS="3.12, 3.13", IMAGES="scoring", TAG="2.0-rc1")
    assert [target.name for target in some.targets] == [
        f"{REGISTRY}/scoring:2.0-rc1-py3.12",
        f"{REGISTRY}/scoring:2.0-rc1-py3.13",
    ]


@pytest.mark.parametrize(
    ("variables", "says"),
    [
        ({"REGISTRY": ""}, "make push REGISTRY=registry.example.com/team"),
        ({"REGISTRY": "https://registry"}, "write a host and a path"),
        ({"PYTHON_VERSIONS": "3"}, "write versions, like 3.11 3.12"),
        ({"IMAGES": "server"}, "none of operator, scoring, mlflow"),
        ({"TAG": "a/b"}, "write a tag"),
    ],
)
def test_wrong_requests_say_what_to_write(variables: dict[str, str], says: str) -> None:
    with pytest.raises(ClusterError, match=says):
        request(**variables)


def test_values_name_each_image_by_its_digest(helm: Helm) -> None:
    asked = request(PYTHON_VERSIONS="3.11 3.13")
    text = push.values_text(asked, {target.name: DIGEST for target in asked.targets})

    operator = container(helm.render(**yaml.safe_load(text)))

    assert operator["image"] == f"{REGISTRY}/operator@{DIGEST}"
    variables = {entry["name"]: entry.get("value") for entry in operator["env"]}
    assert json.loads(variables["MMO_SCORING_IMAGES"]) == {
        "3.11": f"{REGISTRY}/scoring@{DIGEST}",
        "3.13": f"{REGISTRY}/scoring@{DIGEST}",
    }


def test_without_a_push_values_name_the_images_by_tag(helm: Helm) -> None:
    some = request(PYTHON_VERSIONS="3.12", TAG="2.0")

    operator = container(helm.render(**yaml.safe_load(push.values_text(some, {}))))

    assert operator["image"] == f"{REGISTRY}/operator:2.0"
    variables = {entry["name"]: entry.get("value") for entry in operator["env"]}
    images = json.loads(variables["MMO_SCORING_IMAGES"])
    assert images == {"3.12": f"{REGISTRY}/scoring:2.0-py3.12"}


def test_a_push_builds_pushes_and_notes(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    commands: list[tuple[str, ...]] = []
    monkeypatch.setattr(push, "REPOSITORY", tmp_path)
    monkeypatch.setattr(push, "ensure_engine", lambda _: ENGINE)
    monkeypatch.setattr(push, "ensure_pulled", lambda *_: True)
    monkeypatch.setattr(push, "run", lambda *command, **_: commands.append(command))
    monkeypatch.setattr(image_module, "run", lambda *command, **_: commands.append(command))
    monkeypatch.setattr(push, "pinned", lambda name, _: f"{name.rpartition(':')[0]}@{DIGEST}")

    push.push(request(PYTHON_VERSIONS="3.12"), read_settings())

    builds = [command for command in commands if command[:2] == ("docker", "build")]
    assert [command[:3] for command in commands if command not in builds] == [
        ("docker", "push", f"{REGISTRY}/operator:0.1.0"),
        ("docker", "push", f"{REGISTRY}/scoring:0.1.0-py3.12"),
    ]
    assert any("--file=images/scoring.Dockerfile" in command for command in builds)
    values = yaml.safe_load((tmp_path / "dist" / "images.yaml").read_text(encoding="utf-8"))
    assert values["image"]["digest"] == DIGEST


def test_without_a_base_it_says_what_to_set(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(push, "ensure_engine", lambda _: ENGINE)
    monkeypatch.setattr(push, "ensure_pulled", lambda *_: False)

    with pytest.raises(ClusterError, match=r"No available registry has python:3\.12-slim"):
        push.push(request(IMAGES="scoring", PYTHON_VERSIONS="3.12"), read_settings())


def test_several_platforms_are_built_by_buildx(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    commands: list[tuple[str, ...]] = []

    def run(*command: str, **_: object) -> None:
        commands.append(command)
        (flag,) = (part for part in command if part.startswith("--metadata-file="))
        file = Path(flag.partition("=")[2])
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(json.dumps({"containerimage.digest": DIGEST}))

    monkeypatch.setattr(push, "REPOSITORY", tmp_path)
    monkeypatch.setattr(push, "ensure_engine", lambda _: ENGINE)
    monkeypatch.setattr(push, "run", run)
    settings = read_settings({"MMO_CACHE": str(tmp_path)})
    platforms = "linux/amd64,linux/arm64"
    asked = request(PYTHON_VERSIONS="3.13", PLATFORMS=platforms, ATTEST="true")

    push.push(asked, settings)

    command, _ = commands
    assert command[:3] == ("docker", "buildx", "build")
    flags = {"--platform=linux/amd64,linux/arm64", "--push", "--sbom=true"}
    assert flags | {"--provenance=mode=max"} <= set(command)
    assert DIGEST in (tmp_path / "dist" / "images.yaml").read_text()


def test_constraints_hold_from_python_3_11_on() -> None:
    lock = (
        "numpy==2.4.6 \\\n    --hash=sha256:00\n"
        "uvloop==0.22.1 ; sys_platform != 'win32' \\\n    --hash=sha256:11\n"
    )
    assert list(constraints(lock)) == [
        "numpy==2.4.6 ; python_version >= '3.11'",
        "uvloop==0.22.1 ; (sys_platform != 'win32') and python_version >= '3.11'",
    ]


def test_the_scoring_lock_is_for_every_python_of_the_images() -> None:
    lock = (REPOSITORY / "images" / "scoring.lock").read_text(encoding="utf-8")
    # numpy dropped Python 3.10 before it had 2.4: two versions, each with its marker.
    assert "numpy==2.2.6 ; python_full_version < '3.11'" in lock
