"""The steps of a release, as far as they go without a registry and a signature."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import yaml

from dev.cluster.settings import REPOSITORY
from dev.release import __main__ as release
from dev.release import chart, versions
from dev.release.versions import VersionError
from tests.unit.chart.conftest import helm as helm
from tests.unit.chart.rendering import Helm

REGISTRY = "ghcr.example.com/owner/repository"
URL = "https://github.example.com/owner/repository"


def test_the_version_is_the_same_everywhere() -> None:
    assert len(set(versions.written().values())) == 1, versions.written()


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    for name in (*versions.PLACES, versions.CHANGELOG):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(REPOSITORY / name, tmp_path / name)
    log = tmp_path / versions.CHANGELOG
    log.write_text(
        f"# Changelog\n\n## {versions.current()} (today)\n\n- Good.\n\n## 0.0.1\n- Old.\n"
    )
    return tmp_path


def test_a_tag_of_this_version_is_released(repository: Path) -> None:
    versions.check(f"v{versions.current()}", repository)
    assert versions.changes(versions.current(), repository) == "- Good."


@pytest.mark.parametrize(
    ("tag", "says"),
    [
        ("0.1", "write it like v0.1.0"),
        ("v9.9.9", "the tag is 9.9.9, but operator/mlflow_model_operator/__init__.py has"),
    ],
)
def test_another_tag_is_refused(repository: Path, tag: str, says: str) -> None:
    with pytest.raises(VersionError, match=says):
        versions.check(tag, repository)


def test_a_version_without_changes_is_refused(repository: Path) -> None:
    (repository / versions.CHANGELOG).write_text("# Changelog\n\n## Unreleased\n\n- Good.\n")
    with pytest.raises(VersionError, match="rename `## Unreleased`"):
        versions.check(f"v{versions.current()}", repository)


def test_the_published_chart_knows_its_images(helm: Helm, tmp_path: Path) -> None:
    folder = chart.prepare(tmp_path, REGISTRY, URL, "0.1.0")

    done = helm.run("template", "a", str(folder))
    assert done.returncode == 0, done.stderr
    assert f"image: {REGISTRY}/operator:0.1.0\n" in done.stdout
    assert f"{REGISTRY}/scoring:0.1.0-py3.13" in done.stdout
    assert helm.run("lint", "--strict", str(folder)).returncode == 0
    about = yaml.safe_load((folder / "Chart.yaml").read_text(encoding="utf-8"))
    assert about["home"] == URL
    assert about["sources"] == [URL]
    annotations = about["annotations"]
    assert annotations["artifacthub.io/prerelease"] == "false"
    images = yaml.safe_load(annotations["artifacthub.io/images"])
    assert [image["image"] for image in images][:1] == [f"{REGISTRY}/operator:0.1.0"]
    assert {"name": "Source", "url": URL} in yaml.safe_load(annotations["artifacthub.io/links"])


def test_a_version_with_a_hyphen_is_a_prerelease(tmp_path: Path) -> None:
    folder = chart.prepare(tmp_path, REGISTRY, "", "0.2.0-rc.1")
    assert 'artifacthub.io/prerelease: "true"' in (folder / "Chart.yaml").read_text()
    assert "home:" not in (folder / "Chart.yaml").read_text()


def test_everything_is_signed_by_its_digest(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(release, "DIST", tmp_path)
    monkeypatch.setenv("REGISTRY", REGISTRY)
    digests = {
        f"{REGISTRY}/operator:0.1.0": "sha256:1",
        f"{REGISTRY}/scoring:0.1.0-py3.11": "sha256:2",
    }
    (tmp_path / "digests.json").write_text(json.dumps(digests))
    (tmp_path / "chart-digest").write_text("sha256:3")

    assert release.main(["sign", "--dry-run"]) == 0

    assert capsys.readouterr().out.splitlines() == [
        f"cosign sign --yes {REGISTRY}/operator@sha256:1",
        f"cosign sign --yes {REGISTRY}/scoring@sha256:2",
        f"cosign sign --yes {REGISTRY}/charts/mlflow-model-operator@sha256:3",
    ]


def test_what_is_missing_is_one_sentence(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(release, "DIST", tmp_path)
    monkeypatch.delenv("REGISTRY", raising=False)

    assert release.main(["sign"]) == 1
    assert release.main(["chart"]) == 1

    errors = capsys.readouterr().err.splitlines()
    assert errors[0] == "error: dist/digests.json is missing: run `make push` first"
    assert errors[1].startswith("error: set REGISTRY to where the images are")


WORKFLOW = yaml.safe_load((REPOSITORY / ".github/workflows/release.yaml").read_text())


def test_the_workflow_runs_steps_that_exist() -> None:
    """A step of the workflow is a command of the repository: it can be run anywhere."""
    runs = [
        step["run"] for job in WORKFLOW["jobs"].values() for step in job["steps"] if "run" in step
    ]
    commands = " ".join(runs).split("python3 -m dev.release ")[1:]
    assert [command.split()[0] for command in commands] == [
        "check",
        "chart",
        "push-chart",
        "sign",
        "notes",
    ]
    assert {command.split()[0] for command in commands} == set(release.STEPS)


def test_only_the_job_that_publishes_may_write() -> None:
    assert WORKFLOW["permissions"] == {"contents": "read"}
    assert "permissions" not in WORKFLOW["jobs"]["check"]
    assert WORKFLOW["jobs"]["publish"]["needs"] == "check"
