"""Figures about the code of both packages: names without content, function lengths, imports.

    python -m dev.code_metrics            prints them
    python -m dev.code_metrics --check    fails where a limit is exceeded, with a sentence for each

An identifier is a NAME token that is neither a keyword nor `self`. Each occurrence counts, because
each is read. A function is as long as from its `def` to its last line, docstring included. A room
is a folder or a module directly in the package; an arrow leads from a room to another that it
imports, wherever the import stands. The package's own `__init__.py` is no room.
"""

from __future__ import annotations

import argparse
import ast
import keyword
import re
import statistics
import sys
import tokenize
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from dev.cluster.settings import REPOSITORY

PACKAGES = (
    REPOSITORY / "operator" / "mlflow_model_operator",
    REPOSITORY / "scoring" / "mlflow_model_server",
)
# Words that fit anything: an identifier with one of them has not found its noun.
CONTENTLESS = {
    *("told", "tell", "one", "found", "known", "wanted", "what"),
    *("most", "least", "seen", "kept", "asked", "took", "taken"),
}
MAX_PER_10_000 = 20
MAX_LINES = 40
EXAMPLES = 12  # identifiers that a failure names

_PARTS = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+")

Arrow = tuple[str, str]


@dataclass
class Figures:
    """What is measured of a package."""

    name: str
    identifiers: int = 0
    contentless: Counter[str] = field(default_factory=Counter)
    lengths: dict[str, int] = field(default_factory=dict)  # by path:line name
    rooms: set[str] = field(default_factory=set)
    packages: set[str] = field(default_factory=set)
    arrows: set[Arrow] = field(default_factory=set)

    @property
    def per_10_000(self) -> float:
        """How many of 10,000 identifiers have no content."""
        return 10_000 * self.contentless.total() / max(self.identifiers, 1)

    @property
    def long_functions(self) -> dict[str, int]:
        """The functions above the limit, the longest first."""
        long = {name: lines for name, lines in self.lengths.items() if lines > MAX_LINES}
        return dict(sorted(long.items(), key=lambda item: -item[1]))

    @property
    def circles(self) -> list[list[str]]:
        """The groups of rooms that import each other, directly or by way of others."""
        reached = {room: _reachable(room, self.arrows) for room in self.rooms}
        groups = {
            tuple(sorted(other for other in reached[room] if room in reached[other]))
            for room in self.rooms
        }
        return [list(group) for group in sorted(groups) if group]


def measure(package: Path) -> Figures:
    """Reads all modules of a package."""
    figures = Figures(package.name)
    for path in sorted(package.rglob("*.py")):
        _count_identifiers(path, figures)
        tree = ast.parse(path.read_text())
        for function in _functions(tree):
            name = f"{path.relative_to(package.parent)}:{function.lineno} {function.name}"
            figures.lengths[name] = (function.end_lineno or function.lineno) - function.lineno + 1
        _add_room(path, package, tree, figures)
    return figures


def has_content(identifier: str) -> bool:
    """Whether none of an identifier's words is one that fits anything.

    >>> has_content("foundation"), has_content("MOST_BYTES"), has_content("NotYetKnown")
    (True, False, False)
    """
    return CONTENTLESS.isdisjoint(part.lower() for part in _PARTS.findall(identifier))


def complaints(figures: Figures) -> list[str]:
    """A sentence for each limit that a package exceeds."""
    sentences = []
    if figures.per_10_000 > MAX_PER_10_000:
        worst = ", ".join(
            f"{name} ({times})" for name, times in figures.contentless.most_common(EXAMPLES)
        )
        sentences.append(
            f"{figures.name}: {figures.per_10_000:.0f} of 10,000 identifiers are "
            f"contentless, but at most {MAX_PER_10_000} are allowed; use meaningful "
            f"nouns instead of {worst}."
        )
    sentences += [
        f"{name} has {lines} lines, but at most {MAX_LINES} are allowed; split it."
        for name, lines in figures.long_functions.items()
    ]
    return sentences


def report(figures: Figures) -> str:
    """The figures of a package, for people."""
    lengths = sorted(figures.lengths.values()) or [0]
    modules = len(figures.rooms) - len(figures.packages)
    circles = "; ".join(" ⇄ ".join(circle) for circle in figures.circles) or "none"
    return "\n".join(
        (
            figures.name,
            f"  identifiers           {figures.identifiers}",
            f"  without content       {figures.contentless.total()}, "
            f"{figures.per_10_000:.1f} of 10,000",
            f"  functions             {len(figures.lengths)}",
            f"  lines of a function   median {statistics.median(lengths):g}, "
            f"90th percentile {lengths[int(len(lengths) * 0.9)]}, longest {lengths[-1]}, "
            f"{len(figures.long_functions)} above {MAX_LINES}",
            f"  components            {len(figures.rooms)}: {len(figures.packages)} packages, "
            f"{modules} modules",
            f"  imports between them  {len(figures.arrows)}",
            f"  circular imports      {circles}",
        )
    )


def _count_identifiers(path: Path, figures: Figures) -> None:
    for identifier in identifiers(path):
        figures.identifiers += 1
        if not has_content(identifier):
            figures.contentless[identifier] += 1


def identifiers(path: Path) -> Iterator[str]:
    """The identifiers of a module, each time that they occur."""
    nested = 0  # from Python 3.12 on, a formatted string has tokens of its own
    with path.open("rb") as source:
        for token in tokenize.tokenize(source.readline):
            kind = tokenize.tok_name[token.type]
            nested += kind.endswith("STRING_START") - kind.endswith("STRING_END")
            if kind == "NAME" and not nested and not _is_fixed(token.string):
                yield token.string


def _is_fixed(name: str) -> bool:
    """Whether Python leaves no choice of this name."""
    return name == "self" or keyword.iskeyword(name)


def _functions(tree: ast.Module) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield node


def _add_room(path: Path, package: Path, tree: ast.Module, figures: Figures) -> None:
    parts = path.relative_to(package).with_suffix("").parts
    room = parts[0]
    if room == "__init__":
        return
    figures.rooms.add(room)
    if len(parts) > 1:
        figures.packages.add(room)
    importer = (package.name, *parts[:-1])
    imported = {name for name in _imported_rooms(tree, importer) if _is_room(package, name)}
    figures.arrows |= {(room, other) for other in imported if other != room}


def _is_room(package: Path, name: str) -> bool:
    return (package / name).is_dir() or (package / f"{name}.py").is_file()


def _imported_rooms(tree: ast.Module, importer: Sequence[str]) -> Iterator[str]:
    """The names below the package that a module imports, by absolute or relative imports."""
    for dotted in _imported_names(tree, importer):
        first, *rest = dotted.split(".")
        if first == importer[0] and rest:
            yield rest[0]


def _imported_names(tree: ast.Module, importer: Sequence[str]) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            origin = list(importer[: len(importer) - node.level + 1]) if node.level else []
            origin += [node.module] if node.module else []
            yield from (".".join([*origin, alias.name]) for alias in node.names)


def _reachable(start: str, arrows: Iterable[Arrow]) -> set[str]:
    """The rooms that a room imports, directly or by way of others."""
    reached: set[str] = set()
    pending = [start]
    while pending:
        room = pending.pop()
        following = {target for source, target in arrows if source == room} - reached
        reached |= following
        pending += following
    return reached


def main() -> int:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m dev.code_metrics", description=__doc__)
    parser.add_argument("--check", action="store_true", help="fail where a limit is exceeded")
    check = parser.parse_args().check
    packages = [measure(package) for package in PACKAGES]
    if not check:
        print("\n\n".join(report(figures) for figures in packages))
        return 0
    sentences = [sentence for figures in packages for sentence in complaints(figures)]
    print("\n".join(sentences), end="\n" if sentences else "", file=sys.stderr)
    return 1 if sentences else 0


if __name__ == "__main__":
    sys.exit(main())
