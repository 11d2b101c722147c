"""One table of reasons: used by the code, explained in the documentation."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterable
from pathlib import Path

from mlflow_model_operator.api.reasons import EventReason, Reason
from mlflow_model_operator.status.diagnosis.fixes import CONTAINER_FIXES

REPOSITORY = Path(__file__).parents[4]
OPERATOR = REPOSITORY / "operator/mlflow_model_operator"
PAGE = REPOSITORY / "docs/conditions.md"
MAKERS = {"ResolutionError", "Failure", "Failed"}


def test_the_documentation_explains_each_reason_and_no_other() -> None:
    rows = [line for line in PAGE.read_text().splitlines() if line.startswith("| `")]
    first_cells = [row.split("|")[1] for row in rows]
    explained = {name for cell in first_cells for name in re.findall(r"`(\w+)`", cell)}
    conditions = {"ModelResolved", "Available", "Progressing", "RouteAccepted"}
    conditions |= {"CanaryReady", "TrafficSplit"}
    in_text = {"InvalidSpec"}
    assert explained - conditions | in_text == {*Reason, *EventReason}


def test_each_reason_is_used() -> None:
    observed = "".join(path.read_text() for path in OPERATOR.glob("status/**/*.py"))
    resolved = constant_reasons(OPERATOR.glob("registry/*.py"))
    unused = {
        reason
        for reason in Reason
        if f"Reason.{reason.name}" not in observed and reason not in resolved
    }
    assert not unused


def test_the_reasons_of_the_registry_are_in_the_table() -> None:
    found = constant_reasons(OPERATOR.glob("registry/*.py"))
    assert found <= set(Reason)
    assert len(found) > 10, "the search for reasons has gone blind"


def test_the_reasons_that_the_scoring_image_leaves_are_known() -> None:
    found = constant_reasons((REPOSITORY / "scoring").glob("*/*.py"))
    assert found == set(CONTAINER_FIXES)


def constant_reasons(paths: Iterable[Path]) -> set[str]:
    """The reasons with which the code makes its errors, in place or as constants."""
    nodes = [node for path in paths for node in ast.walk(ast.parse(path.read_text()))]
    in_place = {
        str(node.args[0].value)
        for node in nodes
        if isinstance(node, ast.Call)
        and getattr(node.func, "id", "") in MAKERS
        and node.args
        and isinstance(node.args[0], ast.Constant)
    }
    constants = {
        node.value.value
        for node in nodes
        if isinstance(node, ast.Assign)
        and isinstance(node.value, ast.Constant)
        and isinstance(node.value.value, str)
        and re.fullmatch(r"([A-Z][a-z]+){2,}", node.value.value)
    }
    return in_place | constants
