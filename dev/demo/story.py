"""The chapters of the demo, in order."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

from dev import kube
from dev.demo.record import Snapshots
from dev.demo.screen import Screen
from dev.installation import install_operator
from dev.kube import wait_until
from dev.mlflow import server
from dev.traffic import (
    Endpoint,
    Load,
    Request,
    RequestFailed,
    count_answers,
    gateway_url,
    under_load,
)

if TYPE_CHECKING:
    from dev.demo.wine import Wine

NAMESPACE = "models"
NAME = "wine"
ENDPOINT = Endpoint("wine.models.example.com")
POLL_SECONDS = 5  # how often the operator asks the registry here; its default is 15
STABLE, CANARY = "examples/wine.yaml", "examples/wine-canary.yaml"
WAIT_SECONDS = 180
CANARY_REQUESTS = 500
BOTTLES_SHOWN = 15
STEADY_SECONDS = 2  # of load before and after the change


class Demo:
    """Tells the story on a screen."""

    def __init__(self, screen: Screen, snapshots: Snapshots) -> None:
        self.screen = screen
        self.snapshots = snapshots

    def tell(self) -> None:
        """All chapters."""
        self.wine = self.bring_everything_up()
        self.serve_the_champion()
        self.try_the_challenger()
        self.move_the_alias_under_load()
        self.say_what_to_try_next()

    def bring_everything_up(self) -> Wine:
        """MLflow, the models and the operator, side by side."""
        screen = self.screen
        screen.chapter("A model registry, two models, and the operator")
        with (
            screen.working("Waiting for MLflow, the models and the operator"),
            ThreadPoolExecutor() as pool,
        ):
            models = pool.submit(_models_in_a_registry)
            operator = pool.submit(install_operator, pollInterval=POLL_SECONDS)
            namespace = pool.submit(_empty_namespace)
            operator.result()
            namespace.result()
            wine = models.result()
        total = len(wine.bottles.rows)
        screen.say(f"""
MLflow     {server.mlflow_url()} from here, {server.URI_IN_CLUSTER} in the cluster
operator   installed by Helm into the namespace mlflow-model-operator
wine       178 bottles of three growers, 13 measurements each; {total} bottles held out
""")
        for trained, alias in zip(wine.versions, ("champion", "challenger"), strict=True):
            screen.say(
                f"           version {trained.version}: {trained.description + ',':<35} right on "
                f"{trained.right} of {total}   @{alias}"
            )
        return wine

    def serve_the_champion(self) -> None:
        """The first version answers, and says what it says in Python."""
        screen = self.screen
        screen.chapter("Serve the champion")
        screen.run(f"kubectl apply -n {NAMESPACE} -f {STABLE}")
        self._wait_for("Available")
        self._wait_for_an_answer("1")
        self._compare("1")

    def try_the_challenger(self) -> None:
        """A second version gets a share of the requests."""
        screen, wine = self.screen, self.wine
        screen.chapter("Release version 2 as a canary with a fifth of the requests")
        screen.run(f"grep -A2 '^  canary:' {CANARY}")
        screen.run(f"kubectl apply -n {NAMESPACE} -f {CANARY}")
        self._wait_for("TrafficSplit")
        self._wait_for_an_answer("2")
        one, two = (trained.predictions[wine.telling_bottle] for trained in wine.versions)
        screen.say(
            f"\nFor bottle {wine.telling_bottle + 1}, version 1 predicts grower "
            f"{one} and version 2 predicts grower {two}.\n{CANARY_REQUESTS} requests "
            "with that bottle:\n"
        )
        counts = count_answers(self._telling_request(), CANARY_REQUESTS)
        screen.bars({"version 1": counts[one], "version 2": counts[two]})
        self.snapshots.take(
            "While the canary runs", f"kubectl get all,mmd,httproute -n {NAMESPACE}"
        )
        self.snapshots.take("Described", f"kubectl describe mmd wine -n {NAMESPACE}")

    def move_the_alias_under_load(self) -> None:
        """The better version takes over, and no client notices."""
        from dev.demo import wine as models

        screen = self.screen
        screen.chapter("Make version 2 the champion, under load")
        screen.run(f"kubectl apply -n {NAMESPACE} -f {STABLE}")
        with screen.working("Removing the canary"):
            self._wait_until_settled("1")
        screen.say('\n>>> MlflowClient().set_registered_model_alias("wine", "champion", "2")')
        with (
            screen.working("Version 2 becomes ready and takes over, version 1 is removed"),
            under_load(self._telling_request()) as load,
        ):
            self._wait_for_load(load, STEADY_SECONDS)
            moved = time.monotonic()
            models.promote("2", server.mlflow_url())
            self._wait_until_settled("2")
            self._wait_for_load(load, STEADY_SECONDS)
        self._tell_of(load, moved)
        self._compare("2")

    def say_what_to_try_next(self) -> None:
        """How it stands, and commands that work."""
        screen = self.screen
        screen.chapter("The result")
        screen.run(f"kubectl get mmd -n {NAMESPACE}")
        self.snapshots.take("At the end", f"kubectl get all,mmd,httproute -n {NAMESPACE}")
        screen.chapter("Next steps")
        screen.say(f"""\
source .cluster/env                      # kubectl and helm for this cluster

curl {gateway_url()}/invocations -H 'Host: {ENDPOINT.hostname}' \\
     -H 'Content-Type: application/json' -d @examples/wine-request.json

kubectl describe mmd wine -n {NAMESPACE}     # its state and events
kubectl scale mmd wine -n {NAMESPACE} --replicas 3
kubectl get pods -n {NAMESPACE} --watch
python -m webbrowser {server.mlflow_url()}     # move the alias yourself
make clean                               # stop and remove everything
""")

    def _wait_for(self, condition: str) -> None:
        self.screen.run(
            f"kubectl wait -n {NAMESPACE} mmd/{NAME} --for=condition={condition} "
            f"--timeout={WAIT_SECONDS}s",
            seconds=WAIT_SECONDS + 10,
        )

    def _wait_for_an_answer(self, version: str) -> None:
        """The gateway follows its route a moment after accepting it."""
        expected = self._telling_answer(version)

        def answers() -> bool:
            try:
                return bool(self._telling_request().send() == expected)
            except RequestFailed:
                return False

        wait_until(f"version {version} answers through the gateway", answers, seconds=60)

    def _wait_until_settled(self, version: str) -> None:
        """The version has all the traffic and nothing else is left."""

        def settled() -> bool:
            resource = kube.get(kube.RESOURCE, NAME, NAMESPACE) or {}
            status = resource.get("status", {})
            return (
                status.get("observedGeneration") == resource["metadata"]["generation"]
                and status["stable"]["modelVersion"] == version
                and status["rollout"]["phase"] == "Stable"
                and len(kube.get_all(kube.DEPLOYMENT, NAMESPACE)) == 1
            )

        wait_until(f"only version {version} is left", settled, seconds=WAIT_SECONDS)

    def _wait_for_load(self, load: Load, seconds: float) -> None:
        until = time.monotonic() + seconds
        wait_until("the load goes on", lambda: time.monotonic() > until, seconds=seconds + 5)
        assert load.sent > 0, "no request was sent"

    def _compare(self, version: str) -> None:
        """Shows the predictions over HTTP and in Python, side by side."""
        from dev.demo import wine as models

        screen, bottles = self.screen, self.wine.bottles
        served = ENDPOINT.predict(bottles.rows, bottles.columns)
        expected = models.predict_in_python(f"models:/wine/{version}", bottles, server.mlflow_url())
        total = len(expected)
        equal = sum(one == other for one, other in zip(served, expected, strict=True))

        def some(growers: list[int]) -> str:
            return "  ".join(str(grower) for grower in growers[:BOTTLES_SHOWN])

        screen.say(f"""
growers of {total} bottles, version {version}
    through the gateway   {some(served)}  …
    in Python             {some(expected)}  …""")
        assert equal == total, f"only {equal} of {total} predictions are equal"
        screen.good(f"    equal                 {equal} of {total}")

    def _tell_of(self, load: Load, moved: float) -> None:
        first, second = self._telling_answer("1"), self._telling_answer("2")
        began, ended = load.first(second), load.last(first)
        assert began is not None and ended is not None, "one of the versions has never answered"
        counts = load.counts()
        assert not load.failures, (
            f"{len(load.failures)} of {load.sent} requests failed, first: {load.failures[0][1]}"
        )
        self.screen.say(f"""
requests sent                {load.sent:>6,}   {counts[first]:,} answered by version 1, \
{counts[second]:,} by version 2""")
        self.screen.good(f"requests failed              {len(load.failures):>6}")
        self.screen.say(f"""\
first response of version 2  {began - moved:>6.1f} s after the alias moved (the operator polls \
every {POLL_SECONDS} s)
last response of version 1   {ended - moved:>6.1f} s after the alias moved""")

    def _telling_request(self) -> Request:
        bottles = self.wine.bottles
        return Request(ENDPOINT, bottles.rows[self.wine.telling_bottle], bottles.columns)

    def _telling_answer(self, version: str) -> int:
        trained = next(one for one in self.wine.versions if one.version == version)
        return trained.predictions[self.wine.telling_bottle]


def _models_in_a_registry() -> Wine:
    server.deploy()
    # Imports take seconds, in which the server starts.
    from dev.demo import wine as models

    wine = models.train()
    server.wait_until_it_answers()
    models.register(wine, server.mlflow_url())
    return wine


def _empty_namespace() -> None:
    """The namespace without what an earlier run left in it."""
    kube.apply(kube.restricted_namespace(NAMESPACE))
    # Where the operator is just being installed there may be no such kind yet: that is fine too.
    kube.delete(kube.RESOURCE, NAME, NAMESPACE)
