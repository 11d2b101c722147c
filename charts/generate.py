"""The generated parts of the chart: `python charts/generate.py`; `--check` says what is stale.

- files/crds/: copies of crds/, for Helm reads nothing outside the chart.
- README.md: the table of values, from values.yaml and values.schema.json.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

REPOSITORY = Path(__file__).resolve().parents[1]
CHART = REPOSITORY / "charts" / "mlflow-model-operator"
BEGIN, END = "<!-- values: made by charts/generate.py -->\n", "<!-- end of values -->\n"


def generated() -> dict[Path, str]:
    """Each generated file with the content that it must have."""
    crds = sorted((REPOSITORY / "crds").glob("*.yaml"))
    files = {CHART / "files" / "crds" / crd.name: crd.read_text(encoding="utf-8") for crd in crds}
    readme = CHART / "README.md"
    return files | {readme: _with_table(readme.read_text(encoding="utf-8"))}


def stale() -> list[Path]:
    """Files that are missing, differ from what they must be, or should not be there."""
    wanted = generated()
    differing = [
        path
        for path, text in wanted.items()
        if not path.is_file() or path.read_text(encoding="utf-8") != text
    ]
    return differing + [path for path in _copies() if path not in wanted]


def write() -> None:
    """Makes all of them fresh."""
    wanted = generated()
    for path in set(_copies()) - set(wanted):
        path.unlink()
    for path, text in wanted.items():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")


def rows(
    schema: dict[str, Any], values: dict[str, Any], path: str = ""
) -> Iterator[tuple[str, Any, str]]:
    """Path, default and description of each value that a user may set."""
    for name, part in schema["properties"].items():
        here = f"{path}{name}"
        if "properties" in part:
            yield from rows(part, values[name], f"{here}.")
        elif here != "global":
            yield here, values[name], part["description"]


def _copies() -> list[Path]:
    return list((CHART / "files" / "crds").glob("*"))


def _with_table(readme: str) -> str:
    before, _, rest = readme.partition(BEGIN)
    _, _, after = rest.partition(END)
    schema = json.loads((CHART / "values.schema.json").read_text(encoding="utf-8"))
    values = yaml.safe_load((CHART / "values.yaml").read_text(encoding="utf-8"))
    lines = [
        f"| `{path}` | {_shown(default)} | {description} |\n"
        for path, default, description in rows(schema, values)
    ]
    table = "| value | default | meaning |\n| --- | --- | --- |\n" + "".join(lines)
    return f"{before}{BEGIN}{table}{END}{after}"


def _shown(default: Any) -> str:
    is_long = isinstance(default, dict) and len(json.dumps(default)) > 60
    return "see values.yaml" if is_long else f"`{json.dumps(default)}`"


def main(arguments: list[str]) -> int:
    """The command; returns the exit code."""
    if arguments == ["--check"]:
        for path in stale():
            name = path.relative_to(REPOSITORY)
            print(f"{name} is stale: run `python charts/generate.py`", file=sys.stderr)
        return 1 if stale() else 0
    write()
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
