"""One table of reasons: used by the code, explained in the documentation."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterable, Iterator
from pathlib import Path

from mlflow_model_operator.api.reasons import EventReason, Reason
from mlflow_model_operator.status.diagnosis.fixes import CONTAINER_FIXES
from mlflow_model_operator.status.summary import EXTERNAL_REASONS, PASSING_REASONS

REPOSITORY = Path(__file__).parents[4]
OPERATOR = REPOSITORY / "operator/mlflow_model_operator"
PAGE = REPOSITORY / "docs/conditions.md"
TABLE = OPERATOR / "api/reasons.py"
# What is spelled like a reason and is none: types of conditions, and phases of a rollout.
CONDITION_TYPES = {"Ready", "Accepted"}
PHASES = OPERATOR / "api/phase.py"
SCORING_ERRORS = {"StartupError"}
# Why a model was not converted is for metrics: it keeps no model from being served. Agents have
# kinds, and gRPC's reflection has names, that are spelled like reasons.
NO_STARTUP = {"onnx", "agents", "reflection"}


def test_the_documentation_explains_each_reason_and_no_other() -> None:
    rows = [line for line in PAGE.read_text().splitlines() if line.startswith("| `")]
    first_cells = [row.split("|")[1] for row in rows]
    explained = {name for cell in first_cells for name in re.findall(r"`(\w+)`", cell)}
    conditions = {"ModelResolved", "Available", "Progressing", "RouteAccepted"}
    conditions |= {"CanaryReady", "TrafficSplit", "Reconciling", "Stalled"}
    conditions |= {"RegistryUpdated", "RulesAccepted", "ShadowReady", "VariantsReady"}
    in_text = {"InvalidSpec"}
    assert explained - conditions | in_text == {*Reason, *EventReason}


def test_the_documentation_says_what_is_worth_waiting_for() -> None:
    rows = [line.split("|")[1:3] for line in PAGE.read_text().splitlines() if "| `Reconc" in line]
    waits, passing = {}, "`Reconciling`"
    for reasons, condition in rows:
        waits[condition.strip() == passing] = set(re.findall(r"`(\w+)`", reasons))
    assert waits == {True: {*PASSING_REASONS}, False: {*EXTERNAL_REASONS}}


def test_each_reason_is_used() -> None:
    used = {*members("Reason"), *members("EventReason")}
    assert used == {f"Reason.{reason.name}" for reason in Reason} | {
        f"EventReason.{reason.name}" for reason in EventReason
    }


def test_no_reason_is_written_as_plain_text() -> None:
    table = {*Reason, *EventReason} - CONDITION_TYPES
    written = {
        f"{path.relative_to(OPERATOR)}:{node.lineno} {node.value!r}"
        for path in sources()
        if path != PHASES
        for node in ast.walk(without_exports(path))
        if isinstance(node, ast.Constant) and node.value in table
    }
    assert not written, "write the member of api.reasons instead"


def test_the_operator_knows_the_reasons_that_the_scoring_image_leaves() -> None:
    paths = (REPOSITORY / "scoring").rglob("*.py")
    paths_of_startup = [path for path in paths if not NO_STARTUP & {path.parent.name, path.stem}]
    assert set(CONTAINER_FIXES) == constant_reasons(paths_of_startup)
    assert constant_reasons(paths_of_startup) <= set(CONTAINER_FIXES)


def members(enum: str) -> Iterator[str]:
    """The members of an enumeration that the operator's code uses, as they are written."""
    for path in sources():
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Attribute) and getattr(node.value, "id", "") == enum:
                yield f"{enum}.{node.attr}"


def without_exports(path: Path) -> ast.Module:
    """A module without `__all__`, whose names may be spelled like reasons."""
    module = ast.parse(path.read_text())
    module.body = [
        statement
        for statement in module.body
        if not (
            isinstance(statement, ast.Assign) and "__all__" in ast.unparse(statement.targets[0])
        )
    ]
    return module


def sources() -> Iterable[Path]:
    """The operator's code, without the table itself."""
    return (path for path in OPERATOR.rglob("*.py") if path != TABLE)


def constant_reasons(paths: Iterable[Path]) -> set[str]:
    """The reasons with which the code makes its errors, in place or as constants."""
    nodes = [node for path in paths for node in ast.walk(ast.parse(path.read_text()))]
    in_place = {
        str(node.args[0].value)
        for node in nodes
        if isinstance(node, ast.Call)
        and getattr(node.func, "id", "") in SCORING_ERRORS
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
