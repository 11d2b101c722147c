"""Two models of scikit-learn's wine data, in the registry: one that is so-so, and a better one.

The data: 178 bottles from three growers, 13 measurements each; the class is the grower.
"""

from __future__ import annotations

import logging
import os
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import mlflow
import pandas
from mlflow.exceptions import MlflowException
from mlflow.models import infer_signature
from sklearn.datasets import load_wine
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import train_test_split
from sklearn.neighbors import NearestCentroid
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

NAME = "wine"
CHAMPION = "champion"
CHALLENGER = "challenger"
HELD_OUT = 0.25  # of the bottles


@dataclass(frozen=True)
class Bottles:
    """Bottles that no model was trained on. `growers` are the right answers, 0 to 2."""

    columns: list[str]
    rows: list[list[float]]
    growers: list[int]


@dataclass(frozen=True)
class Trained:
    """A model before it is registered. `right`: on how many of the held-out bottles."""

    version: str
    description: str
    model: Any
    predictions: list[int]
    right: int


@dataclass(frozen=True)
class Wine:
    """The two models, and the bottles to try them on."""

    bottles: Bottles
    versions: tuple[Trained, Trained]

    @property
    def telling_bottle(self) -> int:
        """The first bottle on which version 1 is wrong and version 2 is right."""
        first, second = self.versions
        triples = zip(first.predictions, second.predictions, self.bottles.growers, strict=True)
        return next(n for n, (one, two, right) in enumerate(triples) if one != right == two)


def train() -> Wine:
    """Trains both models; takes milliseconds, and comes out the same each time."""
    data = load_wine(as_frame=True)
    known, held_out, known_growers, growers = train_test_split(
        data.data, data.target, test_size=HELD_OUT, random_state=0, stratify=data.target
    )
    better = make_pipeline(StandardScaler(), LogisticRegression())
    candidates = (
        ("1", "nearest centroid", NearestCentroid()),
        ("2", "scaling, then logistic regression", better),
    )
    trained = []
    for version, description, model in candidates:
        predictions = model.fit(known, known_growers).predict(held_out).tolist()
        right = sum(int(one == other) for one, other in zip(predictions, growers, strict=True))
        trained.append(Trained(version, description, model, predictions, right))
    bottles = Bottles(list(held_out.columns), held_out.to_numpy().tolist(), growers.tolist())
    return Wine(bottles, (trained[0], trained[1]))


def register(wine: Wine, tracking_uri: str, name: str = NAME) -> None:
    """Has both versions in the registry, `champion` on the first and `challenger` on the second.

    Versions that an earlier run registered are used again.
    """
    with tracking(tracking_uri):
        registry = mlflow.MlflowClient()
        if not _both_are_registered(registry, name):
            _remove(registry, name)
            mlflow.set_experiment(name)
            registry.create_registered_model(name)
            for trained in wine.versions:
                model = _log(trained, wine.bottles)
                registry.create_model_version(name, model.model_uri, model_id=model.model_id)
        registry.set_registered_model_alias(name, CHAMPION, "1")
        registry.set_registered_model_alias(name, CHALLENGER, "2")


def promote(version: str, tracking_uri: str, name: str = NAME) -> None:
    """Moves the alias `champion`."""
    with tracking(tracking_uri):
        mlflow.MlflowClient().set_registered_model_alias(name, CHAMPION, version)


def predict_in_python(uri: str, bottles: Bottles, tracking_uri: str) -> list[int]:
    """What the registered model says when Python loads it by itself."""
    with tracking(tracking_uri):
        model = mlflow.pyfunc.load_model(uri)
    predictions: list[int] = model.predict(
        pandas.DataFrame(bottles.rows, columns=bottles.columns)
    ).tolist()
    return predictions


@contextmanager
def tracking(uri: str) -> Iterator[None]:
    """MLflow's global tracking server for a while, without its links and progress bars."""
    # Read by MLflow each time; it has no other way to be told.
    os.environ["MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT"] = "true"
    os.environ["MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR"] = "false"
    before = mlflow.get_tracking_uri()
    logger = logging.getLogger("mlflow")
    level = logger.level
    mlflow.set_tracking_uri(uri)
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(level)
        mlflow.set_tracking_uri(before)


def _both_are_registered(registry: Any, name: str) -> bool:
    try:
        found = [registry.get_model_version(name, version) for version in ("1", "2")]
    except MlflowException:
        return False
    return all(version.status == "READY" for version in found)


def _remove(registry: Any, name: str) -> None:
    """Takes away what an interrupted run left: versions begin at 1 again."""
    try:
        registry.delete_registered_model(name)
    except MlflowException:
        return


def _log(trained: Trained, bottles: Bottles) -> Any:
    example = pandas.DataFrame(bottles.rows[:3], columns=bottles.columns)
    with mlflow.start_run(run_name=trained.description):
        mlflow.log_metric("accuracy", trained.right / len(bottles.rows))
        return mlflow.sklearn.log_model(
            trained.model,
            name="model",
            signature=infer_signature(example, trained.model.predict(example)),
            input_example=example,
            # Said, not guessed: guessing would start Python once more to see what it imports.
            pip_requirements=mlflow.sklearn.get_default_pip_requirements(include_skops=True),
        )
