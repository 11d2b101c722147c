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
from dev.cluster.versions import ENVOY_GATEWAY
from e2e.pages.presumed import PAGES
from tests.unit.chart.conftest import helm as helm
from tests.unit.chart.rendering import CHART, REGISTRY, Helm
from tests.unit.docs.commands import Block, blocks

DOCS = REPOSITORY / "docs"
INSTALL = DOCS / "install.md"
WAYS = {"push", "build", "both"}  # to the images: from a registry, or loaded into kind
NEEDS = {"gateway", "grpcurl"}
ENDS = {"fails", "interrupted"}
# What `make demo` printed, with numbers and times.
PRINTED = DOCS / "demo-output.md"


def pages() -> list[Path]:
    """All Markdown files that Git has."""
    names = subprocess.run(
        ("git", "ls-files", "--cached", "--others", "--exclude-standard", "*.md"),
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        check=True,
    ).stdout.splitlines()
    return [path for name in names if (path := REPOSITORY / name).exists() and path != PRINTED]


BY_PAGE = {path: list(blocks(path)) for path in pages()}
ALL = [block for found in BY_PAGE.values() for block in found]
by_place = pytest.mark.parametrize("block", ALL, ids=lambda block: f"{block.file}:{block.line}")


def words(script: str, program: str) -> list[list[str]]:
    """Each call of a program, as words."""
    joined = script.replace("\\\n", " ")
    lines = (line for line in joined.splitlines() if line.startswith(program))
    return [shlex.split(line, comments=True) for line in lines]


@by_place
def test_it_says_who_runs_it(block: Block) -> None:
    """As at the top of commands.py."""
    assert block.kind, "write <!-- run: … --> or <!-- skip: needs … --> above it"
    if block.kind == "skip":
        assert block.about.startswith("needs "), block.about
    elif block.runner:
        assert (REPOSITORY / block.runner).is_file(), block.runner
    else:
        where, *ends = block.words
        assert where in WAYS | NEEDS
        assert set(ends) <= ENDS


def test_both_ways_to_the_images_are_run() -> None:
    assert {block.about for block in BY_PAGE[INSTALL] if not block.runner} >= WAYS


def test_the_pages_are_those_that_the_test_on_a_cluster_reads() -> None:
    run_there = {
        path.relative_to(REPOSITORY).as_posix()
        for path, found in BY_PAGE.items()
        if any(block.kind == "run" and not block.runner for block in found)
    }
    assert run_there - {"docs/install.md"} == {page.path for page in PAGES}


def test_what_is_set_up_is_for_a_block_of_the_page() -> None:
    for page in PAGES:
        found = [block for block in BY_PAGE[REPOSITORY / page.path] if block.kind == "run"]
        steps = [page.step_before(block) for block in found]
        assert set(page.before.values()) == set(steps) - {None}, page.path


@by_place
def test_a_workflow_runs_the_commands_that_name_it(block: Block) -> None:
    if block.runner.startswith(".github/"):
        workflow = (REPOSITORY / block.runner).read_text(encoding="utf-8")
        # The project's own entry point, which a workflow runs.
        entry = (REPOSITORY / ".ci" / "run").read_text(encoding="utf-8")
        for command in block.script.splitlines():
            run = re.sub(r"\s+#.*", "", command)
            assert re.search(rf"(?:run: |exec |^ +){re.escape(run)}$", workflow + entry, re.M), run
        assert "run: .ci/run" in workflow


def test_the_workflow_runs_the_docs_on_an_ordinary_cluster() -> None:
    workflow = yaml.safe_load((REPOSITORY / ".github/workflows/ci.yaml").read_text("utf-8"))
    steps = [step.get("run", "") for step in workflow["jobs"]["docs"]["steps"]]
    assert steps.index("kind create cluster") < steps.index("make test-docs CLUSTER=current")
    assert any(f"gateway-helm --version {ENVOY_GATEWAY} " in step for step in steps)


@by_place
def test_another_test_reads_the_page_that_it_runs(block: Block) -> None:
    if block.runner.endswith(".py"):
        assert block.file in (REPOSITORY / block.runner).read_text(encoding="utf-8")


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
    others = re.compile(r"^ *```(?:sh|bash|shell)$", re.MULTILINE)
    unread = [page.name for page in BY_PAGE if others.search(page.read_text(encoding="utf-8"))]
    assert unread == []


def test_what_a_command_prints_is_no_command(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text(
        "<!-- run: both, fails -->\n"
        "```console\n"
        "$ curl http://wine.models/invocations \\\n"
        "    -d '{\"inputs\": [1]}'\n"
        '{"predictions":[2]}\n'
        "$ kubectl apply -f - <<'EOF'\n"
        "kind: It's a kind\n"
        "EOF\n"
        "$ jq '{\n"
        "    a: 1}'\n"
        "it's printed\n"
        "```\n",
        encoding="utf-8",
    )
    (block,) = blocks(page)
    assert block.script == (
        "curl http://wine.models/invocations \\\n"
        "    -d '{\"inputs\": [1]}'\n"
        "kubectl apply -f - <<'EOF'\n"
        "kind: It's a kind\n"
        "EOF\n"
        "jq '{\n"
        "    a: 1}'\n"
    )
    assert block.printed == '{"predictions":[2]}\nit\'s printed'
    assert block.words == ("both", "fails")
