"""The site: all pages are in it, and no link leads nowhere."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import yaml

from dev.cluster.settings import REPOSITORY
from dev.site import pages


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    """A copy of what pages are made of."""
    for name in ("docs", "examples"):
        shutil.copytree(REPOSITORY / name, tmp_path / name)
    (tmp_path / "benchmarks").mkdir()
    shutil.copytree(REPOSITORY / "benchmarks" / "results", tmp_path / "benchmarks" / "results")
    for source in pages.ELSEWHERE:
        (tmp_path / source).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(REPOSITORY / source, tmp_path / source)
    return tmp_path


def test_nothing_is_wrong() -> None:
    assert pages.assemble().faults == []


def test_every_page_is_listed_once() -> None:
    listed = [page for _, entries in pages.navigation() for page in entries]
    assert len(listed) == len(set(listed))
    assert set(listed) == set(pages.assemble().pages)


def test_a_link_that_leads_nowhere_is_a_fault(repository: Path) -> None:
    with (repository / "docs" / "glossary.md").open("a") as glossary:
        glossary.write("\n[nothing](nothing.md)\n\n```\n[in a block](of-code.md)\n```\n")

    faults = pages.assemble(repository).faults

    assert "docs/glossary.md links to nothing.md, which does not exist" in faults
    assert not any("of-code" in fault for fault in faults)


def test_a_page_that_nothing_lists_is_a_fault(repository: Path) -> None:
    (repository / "docs" / "how-to" / "new.md").write_text("# New\n")

    (fault,) = (fault for fault in pages.assemble(repository).faults if "new.md" in fault)

    assert "link it from the README.md of its folder" in fault


def test_links_lead_to_pages() -> None:
    site = pages.assemble().pages
    assert "(install.md)" in site["index.md"]
    assert "(../scoring-server.md#installed-packages)" in site["how-to/dependencies.md"]
    assert "(examples.md#wineyaml)" in site["install.md"]
    assert "## wine.yaml\n" in site["examples.md"]


def test_links_to_other_files_lead_to_the_repository_where_its_address_is_known() -> None:
    address = "https://git.example.com/team/repository"
    source = "tests/parity/deviations.py"
    assert (
        f"]({address}/blob/main/{source})"
        in pages.assemble(address=address).pages["scoring-protocol.md"]
    )
    plain = pages.assemble().pages["scoring-protocol.md"]
    assert source in plain and f"[{source}]" not in plain


def test_markers_for_tests_are_not_shown() -> None:
    texts = pages.assemble().pages.values()
    assert not any(line.startswith("<!-- run: ") for text in texts for line in text.splitlines())


def test_the_configuration_names_the_pages(tmp_path: Path) -> None:
    config = pages.write(tmp_path, pages.assemble()).read_text(encoding="utf-8")
    nav = yaml.safe_load(config.partition("nav:\n")[2])
    files = [page for section in nav for entries in section.values() for page in entries]
    assert all((tmp_path / "pages" / page).is_file() for page in files)
