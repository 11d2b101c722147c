"""The models of the tests, logged once a session; each test registers names of its own for them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import requests

SERVED = Path(__file__).parent / "served.py"
AGENT = Path(__file__).parents[1] / "examples" / "agent.py"
EXPERIMENT = "e2e"
PACKAGE = "tasters"  # what the private index has, and nobody else

# Label → (what it answers, how it behaves, what it requires beyond MLflow).
LABELS: dict[str, tuple[str, str, list[str]]] = {
    "1": ("1", "good", []),
    "2": ("2", "good", []),
    "3": ("3", "good", []),
    "crash": ("crash", "crash", []),
    "hungry": ("hungry", "hungry", []),
    "failing": ("failing", "failing", []),
    "fatal": ("fatal", "fatal", []),
    "hanging": ("hanging", "hanging", []),
    "impatient": ("impatient", "impatient", []),
    "unfit": ("unfit", "failing", []),
    "slow": ("slow", "slow", []),
    "lost": ("lost", "good", []),
    "needy": ("needy", PACKAGE, [f"{PACKAGE}==1.0"]),
    "agent": ("agent", "agent", []),
    "impossible": ("impossible", "good", ["no-such-package-at-all==1.0"]),
}
# Labels of models with an input example, which this one can't answer.
WITH_EXAMPLE = {"unfit"}
# Labels of models with a baseline, in whose bins predictions of two versions can be compared.
WITH_BASELINE = ("1", "2", "3")


@dataclass(frozen=True)
class LoggedModel:
    """A model in the tracking server's storage."""

    model_id: str
    run_id: str
    artifacts: str  # mlflow-artifacts:/…

    @property
    def uri(self) -> str:
        """How the registry refers to it."""
        return f"models:/{self.model_id}"


@dataclass(frozen=True)
class Facts:
    """What the session made before the first test; goes from the main process to the workers."""

    logged: dict[str, LoggedModel] = field(default_factory=dict)
    wine_columns: list[str] = field(default_factory=list)
    wine_rows: list[list[float]] = field(default_factory=list)
    wine_predictions: dict[str, list[int]] = field(default_factory=dict)  # by version
    authority: str = ""  # the CA of the private package index, PEM
    own_cluster: bool = True  # not somebody's, of which only our namespaces are ours

    def as_json(self) -> dict[str, Any]:
        """For the workers."""
        return asdict(self)

    @classmethod
    def from_json(cls, found: dict[str, Any]) -> Facts:
        """In a worker."""
        logged = {label: LoggedModel(**model) for label, model in found["logged"].items()}
        return cls(**{**found, "logged": logged})


def log_all(tracking_uri: str, labels: Iterable[str] = LABELS) -> dict[str, LoggedModel]:
    """Logs a model for each label."""
    import mlflow

    from dev.demo.wine import tracking

    with tracking(tracking_uri):
        mlflow.set_experiment(EXPERIMENT)
        logged = {label: _log(label) for label in labels}
    if "lost" in logged:
        _lose(logged["lost"], tracking_uri)
    return logged


def save(label: str, folder: Path) -> None:
    """Saves a model into a folder, for storages other than the tracking server's."""
    import mlflow

    mlflow.pyfunc.save_model(path=str(folder), **_arguments(label))


def _log(label: str) -> LoggedModel:
    import mlflow

    with mlflow.start_run(run_name=label) as run:
        info = mlflow.pyfunc.log_model(name="model", **_arguments(label))
    if label in WITH_BASELINE:
        _log_baseline(info)
    return LoggedModel(info.model_id, run.info.run_id, info.artifact_path)


def _log_baseline(info: Any) -> None:
    import pandas

    from mlflow_model_server import baseline

    answers = [answer for answer in WITH_BASELINE for _ in range(100)]
    baseline.save(info, pandas.DataFrame({"wait": [0.0] * len(answers)}), answers)


def _arguments(label: str) -> dict[str, Any]:
    answer, behaviour, packages = LABELS[label]
    if behaviour == "agent":
        return {"python_model": str(AGENT), "pip_requirements": packages}
    arguments = {
        "python_model": str(SERVED),
        "model_config": {"version": answer, "behaviour": behaviour},
        "pip_requirements": packages,
    }
    return {**arguments, **(_example() if label in WITH_EXAMPLE else {})}


def _example() -> dict[str, Any]:
    import pandas

    return {"input_example": pandas.DataFrame({"wait": [0.0]})}


def _lose(model: LoggedModel, tracking_uri: str) -> None:
    """Deletes the files of a model behind the registry's back."""
    path = model.artifacts.removeprefix("mlflow-artifacts:/")
    url = f"{tracking_uri}/api/2.0/mlflow-artifacts/artifacts/{path}"
    requests.delete(url, timeout=30).raise_for_status()


def files_below(folder: Path) -> Iterator[tuple[str, bytes]]:
    """Relative path and content of each file."""
    for path in sorted(folder.rglob("*")):
        if path.is_file():
            yield str(path.relative_to(folder)), path.read_bytes()
