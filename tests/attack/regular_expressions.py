"""Whether a regular expression takes more than linear time: its steps are counted, not timed.

A pattern of `re` is parsed as `re` does it, and matched by a small backtracking matcher that counts
the characters it compares. Texts that repeat parts of what the pattern takes are doubled and
tripled: where steps grow faster than they do, the pattern is super-linear.
"""

from __future__ import annotations

import ast
import importlib
import math
import re
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

_parser: Any = importlib.import_module("re._parser")

# A finite bound up to this is a constant factor of linear time; a larger one counts as none.
MAX_BOUND = 1024
# Such a bound is shortened to this, so that short texts pass it.
_SHORT_BOUND = 3
_REPETITIONS = 6
# One more comparison for each pair of repetitions makes 2 * 6² / 2 more steps.
_MAX_GROWTH = _REPETITIONS**2 // 3
# For one of these texts, which are short. Exponential patterns do not end.
_MAX_STEPS = 50_000
_METHODS = (
    "compile",
    "match",
    "search",
    "sub",
    "subn",
    "fullmatch",
    "findall",
    "finditer",
    "split",
)
_CHARACTERS = "a0 :/.-@_'\"(\\,=\nA\x01\u00e9"
_LOOPS = ("MAX_REPEAT", "MIN_REPEAT", "POSSESSIVE_REPEAT")

Next = Callable[[int], bool]


@dataclass(frozen=True)
class Expression:
    """A pattern, and the methods by which it is used."""

    place: str
    pattern: str | bytes
    flags: int
    methods: frozenset[str]

    @property
    def is_anchored(self) -> bool:
        """Whether it is only tried at the beginning of a text."""
        return self.methods <= {"match", "fullmatch"}


def expressions(package: Path) -> Iterator[Expression]:
    """All patterns in the modules of a package."""
    for file in sorted(package.rglob("*.py")):
        tree = ast.parse(file.read_text())
        calls = [
            node for node in ast.walk(tree) if isinstance(node, ast.Call) and _is_pattern(node)
        ]
        assert "from re import" not in file.read_text(), "such patterns would not be collected"
        if not calls:
            continue
        name = ".".join(file.relative_to(package.parent).with_suffix("").parts)
        variables = vars(importlib.import_module(name.removesuffix(".__init__")))
        for call in calls:
            yield _expression(f"{name}:{call.lineno}", call, tree, variables)


def _is_pattern(call: ast.Call) -> bool:
    match call.func:
        case ast.Attribute(value=ast.Name(id="re"), attr=method):
            return method in _METHODS
    return False


def _expression(place: str, call: ast.Call, tree: ast.AST, variables: dict[str, Any]) -> Expression:
    method = call.func.attr  # type: ignore[attr-defined]
    flags = [word.value for word in call.keywords if word.arg == "flags"]
    if method == "compile":
        flags += call.args[1:2]
    return Expression(
        place,
        _value(call.args[0], variables),
        int(_value(flags[0], variables)) if flags else 0,
        _methods_of(call, tree) if method == "compile" else frozenset({method}),
    )


def _value(node: ast.expr, variables: dict[str, Any]) -> Any:
    """What an expression of Python stands for; local variables in it stand for a word."""
    if isinstance(node, ast.JoinedStr):
        for part in node.values:
            if isinstance(part, ast.FormattedValue):
                try:
                    _value(part.value, variables)
                except NameError:
                    part.value = ast.Constant("word")
    code = compile(ast.fix_missing_locations(ast.Expression(node)), "pattern", "eval")
    return eval(code, dict(variables))


def _methods_of(call: ast.Call, tree: ast.AST) -> frozenset[str]:
    """How a compiled pattern is used in its module; anyhow, if it has no name there."""
    named = [
        target.id
        for node in ast.walk(tree)
        if isinstance(node, ast.Assign) and node.value is call
        for target in node.targets
        if isinstance(target, ast.Name)
    ]
    used = {
        node.attr
        for node in ast.walk(tree)
        if isinstance(node, ast.Attribute)
        and isinstance(node.value, ast.Name)
        and node.value.id in named
    }
    return frozenset(used or {"search"})


def is_superlinear(pattern: str | bytes, flags: int = 0, *, is_anchored: bool = False) -> str:
    """A text that takes more than linear time when it is repeated; "" if none was found."""
    parsed = _parser.parse(pattern, flags)
    if not _has_loop(parsed):
        return ""
    with _deep_recursion():
        for before, part, after in _texts(parsed):
            if _growth(parsed, before, part, after, is_anchored) > _MAX_GROWTH:
                return f"{before!r} + {part!r} * n + {after!r}"
    return ""


def _growth(parsed: Any, before: str, part: str, after: str, is_anchored: bool) -> float:
    """By how much more the steps grow from twice to three times a text than from once to twice."""
    try:
        once, twice, thrice = (
            _Matcher(parsed, before + part * count * _REPETITIONS + after).steps(is_anchored)
            for count in (1, 2, 3)
        )
    except _TooManySteps:
        return math.inf
    return thrice - 2 * twice + once


@contextmanager
def _deep_recursion() -> Iterator[None]:
    limit = sys.getrecursionlimit()
    sys.setrecursionlimit(50_000)
    try:
        yield
    finally:
        sys.setrecursionlimit(limit)


def _has_loop(items: Any) -> bool:
    return any(
        (str(op) in _LOOPS and _is_unbounded(value[1]))
        or any(_has_loop(part) for part in _parts(str(op), value))
        for op, value in items
    )


def _is_unbounded(maximum: Any) -> bool:
    return maximum is _parser.MAXREPEAT or maximum > MAX_BOUND


def _parts(op: str, value: Any) -> list[Any]:
    """The patterns within an item."""
    if op == "BRANCH":
        return list(value[1])
    if op in ("SUBPATTERN", *_LOOPS, "ASSERT", "ASSERT_NOT"):
        return [value[-1]]
    return [value] if op == "ATOMIC_GROUP" else []


def _texts(parsed: Any) -> Iterator[tuple[str, str, str]]:
    """Beginnings, parts to repeat, and ends at which a match may fail."""
    seen: set[tuple[str, str]] = set()
    for branch in range(4):
        tokens = _tokens(parsed, branch)
        whole = "".join(tokens)
        for start in range(len(tokens)):
            before = "".join(tokens[:start])
            pieces = {"".join(tokens[start:end]) for end in range(start + 1, len(tokens) + 1)}
            for part in sorted(pieces | set(whole) | set(_CHARACTERS) - {""}):
                for beginning in {"", before}:
                    if (beginning, part) not in seen:
                        seen.add((beginning, part))
                        yield from ((beginning, part, after) for after in ("", "\x00"))


def _tokens(items: Any, branch: int) -> list[str]:
    """A text that a pattern takes, by item; of alternatives the one with this number."""
    tokens: list[str] = []
    was_literal = False
    for op, value in items:
        name = str(op)
        is_literal = name == "LITERAL"
        if is_literal and was_literal:
            tokens[-1] += chr(value)
        elif name in ("LITERAL", "NOT_LITERAL", "ANY", "IN"):
            tokens.append(_sample(name, value))
        elif name == "BRANCH":
            tokens += _tokens(value[1][branch % len(value[1])], branch)
        elif not name.startswith("ASSERT"):
            for part in _parts(name, value):
                tokens += _tokens(part, branch)
        was_literal = is_literal
    return [token for token in tokens if token]


def _sample(op: str, value: Any) -> str:
    """A character that an item takes."""
    if op == "LITERAL":
        return chr(value)
    every: tuple[str, ...] = (*_CHARACTERS, *map(chr, range(256)), *"│\u2028")
    return next(character for character in every if _takes(op, value, character))


def _takes(op: str, value: Any, character: str) -> bool:
    if op == "LITERAL":
        return chr(value) == character
    if op == "NOT_LITERAL":
        return chr(value) != character
    if op == "RANGE":
        return bool(value[0] <= ord(character) <= value[1])
    if op == "CATEGORY":
        return _is_of(str(value), character)
    if op == "IN":
        negated = str(value[0][0]) == "NEGATE"
        members = value[1:] if negated else value
        return negated != any(_takes(str(kind), member, character) for kind, member in members)
    return op == "ANY"  # with line ends: more than it takes


def _is_of(category: str, character: str) -> bool:
    kind = category.removeprefix("CATEGORY_").removeprefix("NOT_")
    tests = {"DIGIT": r"\d", "SPACE": r"\s", "WORD": r"\w"}
    is_in = re.match(tests[kind], character) is not None
    return is_in != ("NOT_" in category)


class _TooManySteps(Exception):
    """More than linear time is likely to need."""


class _Matcher:
    """Matches as `re` does, by backtracking, and counts the characters that it compares."""

    def __init__(self, parsed: Any, text: str) -> None:
        self._parsed = parsed
        self._text = text
        self._steps = 0
        self._ignores_case = bool(parsed.state.flags & re.IGNORECASE)
        self._groups: dict[int, str] = {}

    def steps(self, is_anchored: bool) -> int:
        """Those of fullmatch; or of all matches, one after the other, as finditer has them."""
        if is_anchored:
            self._items(list(self._parsed), 0, 0, lambda end: end == len(self._text))
            return self._steps
        start = 0
        while start <= len(self._text):
            ends: list[int] = []
            self._items(list(self._parsed), 0, start, lambda end: not ends.append(end))  # type: ignore[func-returns-value]  # noqa: B023
            start = max(start + 1, ends[0] if ends else 0)
        return self._steps

    def _items(self, items: list[Any], number: int, at: int, then: Next) -> bool:
        if number == len(items):
            return then(at)
        op, value = items[number]
        return self._item(str(op), value, at, lambda end: self._items(items, number + 1, end, then))

    def _item(self, op: str, value: Any, at: int, then: Next) -> bool:
        if op in ("LITERAL", "NOT_LITERAL", "ANY", "IN"):
            return self._character(op, value, at) and then(at + 1)
        if op == "BRANCH":
            return any(self._items(list(part), 0, at, then) for part in value[1])
        if op == "SUBPATTERN":
            return self._group(value, at, then)
        if op in _LOOPS:
            return self._loop(op, value, at, then)
        if op in ("ASSERT", "ASSERT_NOT"):
            return self._looks(value, at) == (op == "ASSERT") and then(at)
        if op == "GROUPREF":
            return self._again(self._groups.get(value, ""), at, then)
        assert op == "AT", op
        return self._is_at(str(value), at) and then(at)

    def _character(self, op: str, value: Any, at: int) -> bool:
        self._steps += 1
        if self._steps > _MAX_STEPS:
            raise _TooManySteps
        if at >= len(self._text):
            return False
        character = self._text[at]
        cases = {character.lower(), character.upper()} if self._ignores_case else {character}
        return any(_takes(op, value, each) for each in cases)

    def _group(self, value: Any, at: int, then: Next) -> bool:
        def ended(end: int) -> bool:
            self._groups[value[0]] = self._text[at:end]
            return then(end)

        return self._items(list(value[-1]), 0, at, ended)

    def _loop(self, op: str, value: Any, at: int, then: Next) -> bool:
        low, high, part = value
        if not _is_unbounded(high):
            low, high = min(low, _SHORT_BOUND), min(high, _SHORT_BOUND)
        body = list(part)

        def more(count: int, at: int) -> bool:
            return count < high and self._items(
                body, 0, at, lambda end: (end > at or count < low) and again(count + 1, end)
            )

        def again(count: int, at: int) -> bool:
            if count < low:
                return more(count, at)
            if op == "MIN_REPEAT":
                return then(at) or more(count, at)
            return more(count, at) or then(at)

        return again(0, at)

    def _looks(self, value: Any, at: int) -> bool:
        direction, part = value
        start = at if direction > 0 else at - part.getwidth()[0]
        return start >= 0 and self._items(
            list(part), 0, start, lambda end: direction > 0 or end == at
        )

    def _again(self, text: str, at: int, then: Next) -> bool:
        self._steps += len(text)
        return self._text.startswith(text, at) and then(at + len(text))

    def _is_at(self, place: str, at: int) -> bool:
        text = self._text
        if "BOUNDARY" in place:
            sides = [text[i : i + 1].isalnum() or text[i : i + 1] == "_" for i in (at - 1, at)]
            is_there = at > 0 and sides[0] != sides[1]
            return is_there != ("NON" in place)
        if "BEGINNING" in place:
            return at == 0 or ("LINE" in place and text[at - 1] == "\n")
        return at == len(text) or text[at] == "\n"
