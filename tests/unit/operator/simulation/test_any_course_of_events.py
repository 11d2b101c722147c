"""Whatever happens in whatever order: what serves is kept, and in the end all is as the spec says.

Users move versions, edit, hide and delete objects, lose the status, stop and start; pods fail,
policies refuse, gateways are silent, refuse or are deleted; the operator restarts. The truth is
what the Service and the gateway do, not what the operator believes.
"""

from __future__ import annotations

from itertools import chain
from typing import Any

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, precondition, rule

from mlflow_model_operator.api import names
from mlflow_model_operator.kube import kinds
from mlflow_model_operator.kube.objects import is_hidden, name_of
from tests.unit.operator.simulation.cluster import GATEWAY, KEY, Json
from tests.unit.operator.simulation.operator import ALIAS, ROUTING, World
from tests.unit.operator.simulation.profile import PROFILE

VERSIONS = st.sampled_from(["1", "2", "3"])
CHOICE = st.integers(0, 5)  # one of the Deployments there are
CHANNELS = (kinds.SERVICE, kinds.ROUTE)


class AnyCourseOfEvents(RuleBasedStateMachine):
    """A cluster with one resource, and a reconcile now and then."""

    has_gateway = True

    def __init__(self) -> None:
        super().__init__()
        self.world = World(has_gateway=self.has_gateway)
        self.world.settle()
        self.watch_deletions()

    def watch_deletions(self) -> None:
        self.world.cluster.before_delete = self.check_deletion

    # What users do.

    @rule(version=VERSIONS)
    def the_alias_moves(self, version: str) -> None:
        self.world.registry.aliases[ALIAS] = version

    @rule(version=VERSIONS, weight=st.sampled_from([0, 10, 50, 100]))
    def a_canary_is_set(self, version: str, weight: int) -> None:
        self.world.spec({"canary": {"uri": f"models:/wine/{version}", "weight": weight}})

    @rule()
    def the_canary_is_removed(self) -> None:
        self.world.spec({"canary": None})

    @rule(mode=st.sampled_from(["a", "b"]))
    def the_template_changes(self, mode: str) -> None:
        self.world.spec({"server": {"env": [{"name": "MODE", "value": mode}]}})

    @rule(replicas=st.integers(0, 3))
    def it_is_scaled(self, replicas: int) -> None:
        self.world.spec({"scaling": {"minReplicas": replicas}})

    @rule(label=st.sampled_from([names.MANAGED_BY, names.DEPLOYMENT]), choice=CHOICE)
    def a_deployment_is_relabelled(self, label: str, choice: int) -> None:
        self.edit_deployment(choice, {"metadata": {"labels": {label: "helm"}}})

    @rule(choice=CHOICE)
    def a_deployment_loses_its_owner(self, choice: int) -> None:
        self.edit_deployment(choice, {"metadata": {"ownerReferences": None}})

    @rule(kind=st.sampled_from(CHANNELS), label=st.booleans())
    def the_service_or_route_is_edited(self, kind: kinds.Kind, label: bool) -> None:
        metadata: Json = {"labels": {names.MANAGED_BY: "helm"}} if label else {}
        if KEY.name in self.world.cluster.live(kind) and self.world.status:
            patch = {"metadata": metadata or {"ownerReferences": None}}
            self.world.cluster.edit(kind, KEY.name, patch)

    @rule(kind=st.sampled_from(CHANNELS))
    def the_service_or_route_is_deleted(self, kind: kinds.Kind) -> None:
        if KEY.name in self.world.cluster.live(kind):
            self.world.cluster.remove(kind, KEY.name)

    @precondition(lambda self: not self.is_anything_hidden())
    @rule()
    def the_status_is_lost(self) -> None:
        """Not while anything is hidden either."""
        self.world.cluster.edit(kinds.RESOURCE, KEY.name, {"status": None})

    # What the cluster does.

    @rule(ready=st.integers(0, 3), choice=CHOICE)
    def pods_change(self, ready: int, choice: int) -> None:
        name = self.choose(choice)
        if name:
            self.world.set_ready(name, ready)

    @rule()
    def all_pods_get_ready(self) -> None:
        for name in list(self.world.deployments):
            self.world.set_ready(name)

    @rule(frozen=st.sets(st.sampled_from(["Service", "HTTPRoute"])))
    def a_policy_refuses_changes(self, frozen: set[str]) -> None:
        self.world.cluster.frozen = frozen

    @rule(verdict=st.sampled_from(["True", "True", "False"]))
    def the_gateway_looks(self, verdict: str) -> None:
        if self.has_gateway:
            self.world.data_plane.gateway_looks(verdict)

    @rule()
    def the_registry_goes_down_or_comes_back(self) -> None:
        self.world.registry.is_down = not self.world.registry.is_down

    @rule(seconds=st.sampled_from([1.0, 6.0, 70.0]))
    def time_passes(self, seconds: float) -> None:
        self.world.now += seconds

    # What the operator does.

    @rule()
    def it_restarts(self) -> None:
        self.world.restart()

    @rule()
    def it_reconciles(self) -> None:
        world = self.world
        world.cluster.deliver()
        self.stable_before = world.status.get("stable", {}).get("revision")
        before, answering = self.shares(), self.answering()
        ready = {name for name in world.deployments if self.is_ready(name)}
        world.reconcile()
        self.check_traffic(before, answering, ready)
        self.check_status()

    def choose(self, choice: int) -> str | None:
        deployments = sorted(self.world.deployments)
        return deployments[choice % len(deployments)] if deployments else None

    def edit_deployment(self, choice: int, patch: Json) -> None:
        """Not while the status is lost: of what is hidden then nothing would tell any more."""
        name = self.choose(choice)
        if name and self.world.status:
            self.world.cluster.edit(kinds.DEPLOYMENT, name, patch)

    def shares(self) -> dict[str, int]:
        return {s["revision"]: s["weight"] for s in self.world.status.get("traffic", ())}

    def is_anything_hidden(self) -> bool:
        live = self.world.cluster.live
        objects = (live(kind).values() for kind in (kinds.DEPLOYMENT, *CHANNELS))
        return any(map(is_hidden, chain.from_iterable(objects)))

    def answering(self) -> set[str]:
        return {name for name in self.world.deployments if self.world.data_plane.ready(name)}

    # What must be true.

    def check_deletion(self, obj: Json) -> None:
        """At that very moment. The gateway needs a revision's Service, the public one does not."""
        data_plane = self.world.data_plane
        reached = {"Deployment": data_plane.reached(), "Service": data_plane.by_route()}
        assert name_of(obj) not in reached.get(obj["kind"], ()), "removed, while requests reach it"

    def check_traffic(self, before: dict[str, int], answering: set[str], ready: set[str]) -> None:
        """Against what was so before the reconcile."""
        status, shares = self.world.status, self.shares()
        assert sum(shares.values()) == 100
        assert all(weight > 0 for weight in shares.values())
        if status["rollout"]["phase"] == "Stopped":
            return
        canary = status.get("canary", {}).get("revision")
        is_cold = self.world.resource["spec"].get("canary", {}).get("weight") == 0
        eligible = answering & self.roles(status) - ({canary} if is_cold else set())
        if eligible:
            assert set(shares) <= answering, "traffic for what does not answer, beside what does"
        if answering & set(before):
            moved = set(shares) - set(before)
            assert moved <= ready, "moved to what is not ready, from what answers"
        self.check_capacity(status)

    def check_capacity(self, status: Json) -> None:
        """A revision takes over with as many pods as served before, as far as the spec has them."""
        spec, stable = self.world.resource["spec"], status["stable"]["revision"]
        if stable != self.stable_before and spec.get("rollout", {}).get("surge", 100) == 100:
            ready = self.world.data_plane.ready
            served = ready(self.stable_before) if self.stable_before else 0
            asked_for = spec.get("scaling", {}).get("minReplicas", 1)
            assert ready(stable) >= min(served, asked_for), "moved to fewer pods"

    def roles(self, status: Json) -> set[str]:
        named = {
            status[role]["revision"] for role in ("stable", "target", "canary") if role in status
        }
        return named | {entry["revision"] for entry in status.get("draining", ())}

    def serving(self, status: Json) -> set[Any]:
        """The revisions that there are in the end."""
        return {status["stable"]["revision"], status.get("canary", {}).get("revision")}

    def is_ready(self, name: str) -> bool:
        deployment = self.world.deployments.get(name)
        replicas = deployment["spec"]["replicas"] if deployment else 0
        return 0 < replicas <= self.world.data_plane.ready(name)

    def check_status(self) -> None:
        """Available is what the data plane does, where the operator can know that."""
        world = self.world
        assert world.status["observedGeneration"] == world.resource["metadata"]["generation"]
        status, reason = world.condition("Available")
        if reason == "Stopped" or not self.is_routing_known():
            return
        assert (status == "True") == world.data_plane.is_answering(), world.message("Available")

    def is_routing_known(self) -> bool:
        """Not while a gateway has yet to look at what has changed."""
        if not self.has_gateway:
            return True
        routed = set(self.world.status.get("routedRevisions", ()))
        return routed == self.world.data_plane.by_route() and KEY.name in self.world.cluster.live(
            kinds.ROUTE
        )

    def teardown(self) -> None:
        """In the end all is as the spec says, whatever it was that happened."""
        world = self.world
        world.cluster.frozen = set()
        world.registry.is_down = False
        world.settle()
        spec, status = world.resource["spec"], world.status
        expected = self.serving(status)
        is_stopped = spec.get("scaling", {}).get("minReplicas") == 0
        if is_stopped:
            expected.add(status.get("target", {}).get("revision"))
        else:
            assert "target" not in status
            assert status["stable"]["modelVersion"] == world.registry.aliases[ALIAS]
            assert world.condition("Ready") == ("True", "Ready"), world.message("Ready")
        assert set(world.deployments) == expected - {None}
        for obj in world.cluster.objects.values():
            if obj["kind"] not in (names.KIND, "Gateway"):
                assert obj["metadata"]["labels"][names.MANAGED_BY] == names.MANAGED_BY_VALUE
                assert obj["metadata"]["ownerReferences"]


class AnyCourseOfEventsWithoutGateway(AnyCourseOfEvents):
    has_gateway = False


class AnyCourseOfEventsOfGateways(AnyCourseOfEvents):
    """The same with a Gateway that comes and goes, and a spec that names it or does not."""

    @rule(is_there=st.booleans())
    def the_gateway_is_deleted_or_made(self, is_there: bool) -> None:
        cluster, there = self.world.cluster, self.world.cluster.live(kinds.GATEWAY)
        if there and not is_there:
            self.gateway = there[GATEWAY.name]
            cluster.remove(kinds.GATEWAY, GATEWAY.name, GATEWAY.namespace)
            self.world.data_plane.gateway_looks("False")
        elif is_there and not there:
            metadata = {"name": GATEWAY.name, "namespace": GATEWAY.namespace}
            cluster.create(kinds.GATEWAY, {**self.gateway, "metadata": metadata})

    @rule(is_named=st.booleans())
    def the_spec_names_it_or_not(self, is_named: bool) -> None:
        routing: Any = ROUTING if is_named else None
        self.world.spec({"routing": routing})

    def teardown(self) -> None:
        self.the_gateway_is_deleted_or_made(True)
        super().teardown()


TestWithGateway = AnyCourseOfEvents.TestCase
TestWithGateway.settings = PROFILE
TestWithoutGateway = AnyCourseOfEventsWithoutGateway.TestCase
TestWithoutGateway.settings = PROFILE
TestGateways = AnyCourseOfEventsOfGateways.TestCase
TestGateways.settings = PROFILE
