"""The pages of the site: the repository's Markdown files, with links that lead to pages.

The files stay where they are read in the repository, so links to other files of it become links to
pages, or to the repository itself where its address is known.
"""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

REPOSITORY = Path(__file__).resolve().parents[2]
CONFIG = Path(__file__).with_name("config.yml")
EXAMPLES = "examples.md"

# Files outside of docs/, and the pages that they become.
ELSEWHERE = {
    "README.md": "index.md",
    "scoring/README.md": "scoring-server.md",
    "charts/mlflow-model-operator/README.md": "chart.md",
    "benchmarks/README.md": "benchmarks/index.md",
    "CHANGELOG.md": "changelog.md",
    "CONTRIBUTING.md": "contributing.md",
    "CODE_OF_CONDUCT.md": "code-of-conduct.md",
    "SECURITY.md": "security-policy.md",
}
# Titles and pages; a name with a slash at its end is all pages below it, in the order in which the
# README.md there links to them.
NAVIGATION: tuple[tuple[str, tuple[str, ...]], ...] = (
    ("Start", ("index.md", "concepts.md", "quickstart.md", "install.md", "demo-output.md")),
    ("How-to guides", ("how-to/",)),
    (
        "Reference",
        (
            "reference.md",
            EXAMPLES,
            "conditions.md",
            "rollouts.md",
            "scoring-protocol.md",
            "scoring-server.md",
            "chart.md",
            "metrics.md",
            "scoring-metrics.md",
        ),
    ),
    (
        "Operation",
        (
            "security.md",
            "upgrading.md",
            "compatibility.md",
            "api-stability.md",
            "changelog.md",
            "security-policy.md",
        ),
    ),
    (
        "Background",
        ("architecture.md", "glossary.md", "benchmarks/", "decisions/"),
    ),
    ("Contributing", ("contributing.md", "releasing.md", "code-of-conduct.md")),
)
_FENCE = re.compile(r"^( *)(```|~~~).*?^\1\2 *$", re.MULTILINE | re.DOTALL)
_LINK = re.compile(r"(?<![!\\])\[(?P<text>(?:[^\[\]]|`[^`]*`)*)\]\((?P<target>[^()\s]+)\)")
_MARKER = re.compile(r"^<!-- (?:run|skip): .*?-->\n", re.MULTILINE)  # for e2e/test_docs.py


@dataclass
class Site:
    """What is written, and what is wrong with it."""

    pages: dict[str, str] = field(default_factory=dict)  # path in the site → text
    faults: list[str] = field(default_factory=list)


def assemble(repository: Path = REPOSITORY, address: str = "") -> Site:
    """All pages, with their links; `address` is the repository's on the web."""
    sources = dict(_sources(repository))
    site = Site()
    for source, page in sources.items():
        text = (repository / source).read_text(encoding="utf-8")
        links = _Links(repository, sources, source, page, address, site.faults)
        site.pages[page] = links.rewritten(_MARKER.sub("", text))
    site.pages[EXAMPLES] = _examples(repository)
    listed = [page for _, entries in navigation(repository) for page in entries]
    site.faults += [
        f"{page} is not in the navigation: link it from the README.md of its "
        "folder, or add it to dev/site/pages.py"
        for page in site.pages
        if page not in listed
    ]
    return site


def navigation(repository: Path = REPOSITORY) -> list[tuple[str, list[str]]]:
    """The titles and their pages, in order."""
    return [
        (title, [page for entry in entries for page in _below(repository, entry)])
        for title, entries in NAVIGATION
    ]


def write(folder: Path, site: Site, repository: Path = REPOSITORY) -> Path:
    """Writes pages and configuration; returns the configuration's path."""
    shutil.rmtree(folder / "pages", ignore_errors=True)
    for page, text in site.pages.items():
        path = folder / "pages" / page
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    shutil.copy(repository / "charts" / "mlflow-model-operator" / "icon.svg", folder / "pages")
    config = folder / "mkdocs.yml"
    config.write_text(CONFIG.read_text(encoding="utf-8") + _nav_text(repository), encoding="utf-8")
    return config


def _nav_text(repository: Path) -> str:
    lines = ["nav:"]
    for title, pages in navigation(repository):
        lines += [f"  - {title}:", *(f"      - {page}" for page in pages)]
    return "\n".join(lines) + "\n"


def _sources(repository: Path) -> Iterator[tuple[str, str]]:
    """Each file, and the page that it becomes."""
    for path in sorted((repository / "docs").rglob("*.md")):
        page = path.relative_to(repository / "docs")
        name = page.with_name("index.md") if page.name == "README.md" else page
        yield path.relative_to(repository).as_posix(), name.as_posix()
    for path in sorted((repository / "benchmarks" / "results").glob("*.md")):
        yield path.relative_to(repository).as_posix(), f"benchmarks/{path.name}"
    yield from ((source, page) for source, page in ELSEWHERE.items())


def _below(repository: Path, entry: str) -> Iterator[str]:
    if not entry.endswith("/"):
        yield entry
        return
    folder = repository / ("benchmarks" if entry == "benchmarks/" else f"docs/{entry}")
    pages = {(repository / source).resolve(): page for source, page in _sources(repository)}
    yield f"{entry}index.md"
    text = (folder / "README.md").read_text(encoding="utf-8")
    targets = [match["target"].partition("#")[0] for match in _LINK.finditer(text)]
    linked = [pages.get((folder / target).resolve(), "") for target in targets]
    for page in dict.fromkeys(linked):
        if page.startswith(entry) or page == "mlflow-build-docker.md":
            yield page


def _examples(repository: Path) -> str:
    """One page with all examples, each below its own title."""
    parts = ["# Examples\n\nEach file in `examples/` is applied on a real cluster by the tests.\n"]
    for path in sorted((repository / "examples").iterdir()):
        language = {".json": "json", ".py": "python"}.get(path.suffix, "yaml")
        parts.append(f"\n## {path.name}\n\n```{language}\n{path.read_text(encoding='utf-8')}```\n")
    return "".join(parts)


@dataclass(frozen=True)
class _Links:
    """The links of one page."""

    repository: Path
    sources: dict[str, str]
    source: str
    page: str
    address: str
    faults: list[str]

    def rewritten(self, text: str) -> str:
        """The text, with its links leading to pages; code blocks stay as they are."""
        parts, end = [], 0
        for fence in _FENCE.finditer(text):
            parts += [_LINK.sub(self._link, text[end : fence.start()]), fence.group()]
            end = fence.end()
        return "".join([*parts, _LINK.sub(self._link, text[end:])])

    def _link(self, match: re.Match[str]) -> str:
        target, _, anchor = match["target"].partition("#")
        if not target or ":" in target:
            return match.group()
        path = (self.repository / self.source).parent.joinpath(target).resolve()
        if not path.exists() or not path.is_relative_to(self.repository.resolve()):
            self.faults.append(f"{self.source} links to {target}, which does not exist")
            return match.group()
        return self._to(path.relative_to(self.repository.resolve()), anchor, match)

    def _to(self, path: Path, anchor: str, match: re.Match[str]) -> str:
        page, anchor = self._page(path, anchor)
        if page:
            here = PurePosixPath(self.page).parent.as_posix()
            target = os.path.relpath(page, here) + (f"#{anchor}" if anchor else "")
            return f"[{match['text']}]({target})"
        if self.address:
            return f"[{match['text']}]({self.address}/blob/main/{path.as_posix()})"
        return match["text"]

    def _page(self, path: Path, anchor: str) -> tuple[str, str]:
        name = path.as_posix()
        if name in self.sources:
            return self.sources[name], anchor
        if f"{name}/README.md" in self.sources:
            return self.sources[f"{name}/README.md"], anchor
        if name == "examples":
            return EXAMPLES, ""
        if path.parent.as_posix() == "examples":
            return EXAMPLES, path.name.replace(".", "")
        return "", ""
