"""A model that one test after another releases a version of: that is quicker than one for each."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from dev import kube
from e2e.models import Facts
from e2e.releases.traffic import ReleaseLoad, release_load
from e2e.steps import (
    DeployedModel,
    RegisteredModel,
    given_a_deployment,
    given_a_registered_model,
    then_is_served,
    then_it_answers,
    wait_for,
    when_the_alias_moves,
)
from e2e.steps.given import registry_client
from e2e.steps.phases import stable_of

ALIAS = "champion"
GOOD = ("1", "2")  # labels of good models, which take turns
# These tests move the alias often, and say themselves when a release starts.
NO_FLAP_PROTECTION = {"flapProtection": {"moves": 0}}


@dataclass
class ReleasedModel:
    """A served model. `labels` are those of its versions, in order."""

    facts: Facts
    deployed: DeployedModel
    registered: RegisteredModel
    tracking_uri: str
    spec: dict[str, Any] = field(default_factory=dict)
    labels: list[str] = field(default_factory=list)
    stable: int = 1

    @property
    def answer(self) -> str:
        """What the version answers that serves."""
        return self.labels[self.stable - 1]

    def register(self, label: str = "") -> int:
        """Registers another version; without a label a good one that answers otherwise."""
        label = label or GOOD[self.answer == GOOD[0]]
        logged = self.facts.logged[label]
        registry_client().create_model_version(
            self.registered.name, logged.uri, model_id=logged.model_id
        )
        self.labels.append(label)
        return len(self.labels)

    def given(self, rollout: dict[str, Any], **spec: Any) -> None:
        """The version that serves goes on doing so, by this `spec.rollout`."""
        given_a_deployment(
            self.deployed.namespace,
            self.registered.at(ALIAS),
            model={"trackingUri": self.tracking_uri},
            rollout={**NO_FLAP_PROTECTION, **rollout},
            **{**self.spec, **spec},
        )
        then_is_served(self.deployed, self.stable)
        then_it_answers(self.deployed, self.answer)

    @contextmanager
    def under_load(self, per_second: float | None = None) -> Iterator[ReleaseLoad]:
        """A steady load through the gateway and from inside the cluster until the block ends."""
        with release_load(self.deployed, per_second) as load:
            yield load

    def release(self, version: int, load: ReleaseLoad | None = None) -> None:
        """Moves the alias: from now on the load counts the time until the decision."""
        if load is not None:
            load.release_begins()
        when_the_alias_moves(self.registered, ALIAS, version)

    def then_is_promoted(self, version: int, load: ReleaseLoad | None = None) -> None:
        """The version is the stable one, and all that answers."""
        wait_for(
            self.deployed,
            f"version {version} is promoted",
            lambda: stable_of(self.deployed.status) == str(version),
        )
        if load is not None:
            load.is_decided()
        self.stable = version
        then_is_served(self.deployed, version)
        then_it_answers(self.deployed, self.answer)

    def recall(self) -> None:
        """The alias names the version that serves again."""
        self.release(self.stable)
        then_is_served(self.deployed, self.stable)


def given_a_released_model(
    namespace: str, facts: Facts, tracking_uri: str, **spec: Any
) -> ReleasedModel:
    """Version 1 of a new registered model is served."""
    label = GOOD[0]
    model = ReleasedModel(
        facts,
        DeployedModel(namespace, "wine"),
        given_a_registered_model(facts, label, champion=1),
        tracking_uri,
        spec,
        [label],
    )
    kube.delete(kube.RESOURCE, "wine", namespace)
    wait_for(
        model.deployed,
        "nothing of an older model is left",
        lambda: (
            kube.get_all(kube.POD, namespace, "mlflow-model-operator.dev/deployment=wine") == []
        ),
    )
    model.given({"strategy": "direct"})
    return model
