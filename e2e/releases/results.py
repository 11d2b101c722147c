"""What became of the requests of each release, in benchmarks/results/ and in docs/rollouts.md.

python -m e2e.releases.results      writes the table of the results into docs/rollouts.md
"""

from __future__ import annotations

import fcntl
import json
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

from benchmarks import machine, result_files
from e2e.releases.traffic import ReleaseLoad

NAME = "release-scenarios"
DOCS = Path(__file__).parents[2] / "docs" / "rollouts.md"
BEGIN, END = "<!-- release scenarios -->", "<!-- end of release scenarios -->"
# How the names of scenarios begin, in the order of the table.
ORDER = (
    *("good", "paused", "alias", "autoscaler", "slow", "failing", "drifting", "crashing"),
    *("input example", "shadow", "no room", "operator killed", "MLflow gone", "API server"),
)
HEAD = (
    "| scenario | requests | failed | outcome | seconds until then |",
    "|---|---:|---:|---|---:|",
)


@dataclass(frozen=True)
class Result:
    """One release. `seconds` are from the move of the alias to the outcome."""

    scenario: str
    requests: int
    failed: int
    outcome: str
    seconds: float

    @property
    def row(self) -> str:
        """Its line of the table."""
        return (
            f"| {self.scenario} | {self.requests:,} | {self.failed:,} | {self.outcome} | "
            f"{self.seconds:.0f} |"
        )


class Recorder:
    """Writes results as they come; a result takes the place of an older one of its scenario."""

    def __call__(self, scenario: str, load: ReleaseLoad, outcome: str) -> None:
        """Records what became of a release."""
        result = Result(scenario, load.sent, len(load.failures), outcome, round(load.seconds, 1))
        with _alone():
            results = {entry.scenario: entry for entry in read()} | {scenario: result}
            _write(sorted(results.values(), key=_rank))


def read() -> list[Result]:
    """All results that there are."""
    file = result_files.RESULTS / f"{NAME}.json"
    if not file.is_file():
        return []
    return [Result(**entry) for entry in json.loads(file.read_text())["results"]]


def table(results: list[Result]) -> str:
    """For people."""
    return "\n".join([*HEAD, *(result.row for result in results)])


def with_table(text: str, results: list[Result]) -> str:
    """A page with the table between its two marks."""
    before, _, rest = text.partition(BEGIN)
    after = rest.partition(END)[2]
    return f"{before}{BEGIN}\n\n{table(results)}\n\n{END}{after}"


def _rank(result: Result) -> tuple[int, str]:
    places = (place for place, begin in enumerate(ORDER) if result.scenario.startswith(begin))
    return next(places, len(ORDER)), result.scenario


def _write(results: list[Result]) -> None:
    described = {name: machine.describe()[name] for name in ("cpu", "cores", "date")}
    figures = {"machine": described, "results": [asdict(result) for result in results]}
    markdown = (
        "# Releases under load\n\nSee [docs/rollouts.md](../../docs/rollouts.md#releases-under-"
        f"load). {described['cpu']}, {described['cores']} cores; cluster and load share them.\n\n"
        f"{table(results)}\n"
    )
    result_files.write(NAME, figures, markdown)


@contextmanager
def _alone() -> Iterator[None]:
    lock = Path(tempfile.gettempdir()) / "mlflow-model-operator-e2e-results.lock"
    with lock.open("w") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        yield


def main() -> None:
    """The command line."""
    DOCS.write_text(with_table(DOCS.read_text(), read()))


if __name__ == "__main__":
    main()
