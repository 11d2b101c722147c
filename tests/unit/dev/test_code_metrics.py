"""What counts as a name without content, a room, an arrow and a long function."""

from __future__ import annotations

from pathlib import Path

import pytest

from dev.code_metrics import Figures, complaints, has_content, identifiers, measure, report

LONG = "def long():\n" + "    print()\n" * 40


@pytest.fixture
def package(tmp_path: Path) -> Path:
    folder = tmp_path / "shop"
    for name, text in {
        "__init__.py": "from shop import till\n",
        "till.py": "from shop.goods import shelf\n\ndef price(found):\n    return found\n",
        "goods/__init__.py": "",
        "goods/shelf.py": "import json\nfrom .. import till\nfrom . import box\n",
        "goods/box.py": LONG,
    }.items():
        (folder / name).parent.mkdir(exist_ok=True, parents=True)
        (folder / name).write_text(text)
    return folder


@pytest.mark.parametrize(
    ("identifier", "expected"),
    [
        ("found", False),
        ("_most_rows", False),
        ("MOST_BYTES", False),
        ("NotYetKnown", False),
        ("HTTPKnown", False),
        ("foundation", True),
        ("almost", True),
        ("MAX_BYTES", True),
        ("milestone", True),
    ],
)
def test_words_are_parts_of_a_name(identifier: str, expected: bool) -> None:
    assert has_content(identifier) is expected


def test_identifiers_are_names_but_keywords_and_self(tmp_path: Path) -> None:
    path = tmp_path / "module.py"
    path.write_text('class A:\n    def b(self):\n        """Text."""\n        return f"{self.c}"\n')
    assert list(identifiers(path)) == ["A", "b"]


def test_each_occurrence_counts(package: Path) -> None:
    assert measure(package).contentless == {"found": 2}


def test_rooms_and_arrows(package: Path) -> None:
    figures = measure(package)
    assert figures.rooms == {"till", "goods"}
    assert figures.packages == {"goods"}
    assert figures.arrows == {("till", "goods"), ("goods", "till")}
    assert figures.circles == [["goods", "till"]]


def test_a_long_function_is_named(package: Path) -> None:
    assert measure(package).long_functions == {"shop/goods/box.py:1 long": 41}


def test_complaints_say_which_names(package: Path) -> None:
    names, function = complaints(measure(package))
    assert "use meaningful nouns instead of found (2)." in names
    assert (
        function == "shop/goods/box.py:1 long has 41 lines, but at most 40 are allowed; split it."
    )


def test_nothing_to_complain_about() -> None:
    figures = Figures("shop", identifiers=1000)
    figures.contentless.update({"found": 2})
    assert complaints(figures) == []
    assert "2, 20.0 of 10,000" in report(figures)
