"""The commands that the docs tell people to run: each is valid, and named by a marker."""

from __future__ import annotations

import itertools
import re
import shlex
import subprocess
from pathlib import Path

import pytest
import yaml

from dev.cluster.settings import REPOSITORY
from tests.unit.chart.conftest import helm as helm
from tests.unit.chart.rendering import CHART, REGISTRY, Helm
from tests.unit.docs.commands import Block, blocks

DOCS = REPOSITORY / "docs"
INSTALL = list(blocks(DOCS / "install.md"))
ALL = [block for path in sorted(DOCS.rglob("*.md")) for block in blocks(path)]
ALL += [*blocks(REPOSITORY / "README.md"), *blocks(CHART / "README.md")]
# What `make demo` printed, with numbers and times.
ALL = [block for block in ALL if block.file != "demo-output.md"]
WAYS = ("push", "build", "both")  # of install.md: from a registry, or loaded into kind
by_place = pytest.mark.parametrize("block", ALL, ids=lambda block: f"{block.file}:{block.line}")


def words(script: str, program: str) -> list[list[str]]:
    """Each call of a program, as words."""
    joined = script.replace("\\\n", " ")
    lines = (line for line in joined.splitlines() if line.startswith(program))
    return [shlex.split(line, comments=True) for line in lines]


def test_each_block_of_the_installation_says_who_runs_it() -> None:
    unmarked = [block.line for block in INSTALL if not block.kind]
    assert unmarked == [], "write <!-- run: push|build|both --> or <!-- skip: why --> above it"
    assert {block.about for block in INSTALL if block.kind == "run"} == set(WAYS)
    reasons = {block.about for block in INSTALL if block.kind == "skip"}
    assert all(reason.startswith(("needs ", "the cluster is")) for reason in reasons), reasons


@by_place
def test_it_is_valid_for_bash(block: Block) -> None:
    assert block.script.strip(), "a console block without a command"
    done = subprocess.run(
        ("bash", "-n"), input=block.script, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr


@by_place
def test_targets_of_make_exist(block: Block) -> None:
    sources = [REPOSITORY / "Makefile", *REPOSITORY.glob("*/*.mk"), *REPOSITORY.glob("*/*/*.mk")]
    text = "".join(path.read_text(encoding="utf-8") for path in sources)
    targets = set(re.findall(r"^([a-z0-9-]+):", text, re.MULTILINE))
    for call in words(block.script, "make"):
        first = itertools.takewhile(lambda word: word != "|", call[1:])
        assert {word for word in first if re.fullmatch("[a-z][a-z0-9-]*", word)} <= targets, call


@by_place
def test_files_exist(block: Block) -> None:
    """Those of the repository; a folder on an OCI registry is none of it."""
    paths = re.findall(r"(?<![\w./-])((?:examples|charts|deploy|dev|crds)/[\w./-]+)", block.script)
    missing = {path for path in paths if not (REPOSITORY / path).exists()}
    assert missing <= {"dev/null"}


@by_place
def test_waiting_has_a_limit_that_fits(block: Block) -> None:
    """kubectl's own, 30 s, ends before the first start of any model."""
    for call in words(block.script, "kubectl"):
        if call[1] == "wait" or call[1:3] == ["rollout", "status"]:
            assert any(word.startswith("--timeout") for word in call), call
    for call in words(block.script, "helm"):
        if "--wait" in call:
            assert any(word.startswith("--timeout") for word in call), call


@by_place
def test_the_chart_takes_the_values(block: Block, helm: Helm, tmp_path: Path) -> None:
    for call in words(block.script, "helm"):
        if call[1] not in ("install", "upgrade"):
            continue
        values = [
            word
            for flag, value in itertools.pairwise(call)
            if flag == "--set"
            for word in ("--set", value)
        ]
        image = f"--set=image.registry={REGISTRY}"
        done = helm.run("template", "a", str(CHART), image, *values)
        assert done.returncode == 0, done.stderr


@by_place
def test_patches_and_manifests_are_yaml(block: Block) -> None:
    for call in words(block.script, "kubectl"):
        for flag, value in itertools.pairwise(call):
            if flag == "--patch":
                assert yaml.safe_load(value)
    for manifest in re.findall(r"apply .*<<'EOF'\n(.*?)^EOF$", block.script, re.DOTALL | re.M):
        assert yaml.safe_load(manifest)["kind"]


def test_no_block_of_commands_goes_unchecked() -> None:
    """Only console blocks are read here."""
    pages = [*sorted(DOCS.rglob("*.md")), REPOSITORY / "README.md", CHART / "README.md"]
    others = re.compile(r"^ *```(?:sh|bash|shell)$", re.MULTILINE)
    assert [page.name for page in pages if others.search(page.read_text(encoding="utf-8"))] == []
