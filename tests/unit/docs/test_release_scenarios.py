"""The table of releases under load in the documentation is that of the results."""

from __future__ import annotations

from e2e.releases import results
from e2e.releases.results import Result


def test_the_page_has_the_table_of_the_results() -> None:
    page = results.DOCS.read_text()
    assert page == results.with_table(page, results.read())


def test_no_request_was_lost_by_a_good_release() -> None:
    lost = [
        entry for entry in results.read() if entry.failed and "rolled back" not in entry.outcome
    ]
    assert lost == []


def test_a_table_takes_the_place_of_the_last_one() -> None:
    page = f"before\n{results.BEGIN}\n\nold\n\n{results.END}\nafter\n"
    result = Result("good release", 1234, 0, "promoted", 12.6)

    once = results.with_table(page, [result])

    assert "| good release | 1,234 | 0 | promoted | 13 |" in once
    assert once.startswith("before\n") and once.endswith("\nafter\n") and "old" not in once
    assert results.with_table(once, [result]) == once
