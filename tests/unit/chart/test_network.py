"""NetworkPolicies: of the operator, and of models where the chart knows where they are."""

from __future__ import annotations

from typing import Any

from tests.unit.chart.rendering import NAMESPACE, RELEASE, Helm, of_kind, the

JsonObject = dict[str, Any]

POLICY = "NetworkPolicy"
GATEWAYS = [{"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "gateways"}}}]
MONITORING = [{"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "prom"}}}]
OPERATOR = {
    "namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": NAMESPACE}},
    "podSelector": {
        "matchLabels": {
            "app.kubernetes.io/name": "mlflow-model-operator",
            "app.kubernetes.io/instance": RELEASE,
        }
    },
}
DNS = {
    "ports": [
        {"port": port, "protocol": protocol} for port in (53, 5353) for protocol in ("UDP", "TCP")
    ]
}
ALL_BUT_METADATA = {
    "to": [
        {"namespaceSelector": {}},
        {"ipBlock": {"cidr": "0.0.0.0/0", "except": ["169.254.169.254/32"]}},
        {"ipBlock": {"cidr": "::/0", "except": ["fd00:ec2::254/128"]}},
    ]
}


def network(helm: Helm, **values: Any) -> dict[str, Any]:
    """The spec of the operator's policy."""
    objects = helm.render(networkPolicy={"enabled": True, **values})
    return dict(the(objects, POLICY)["spec"])


def models(helm: Helm, **values: Any) -> list[JsonObject]:
    """The policies of the models' pods in two namespaces."""
    values = {"enabled": True, **values}
    objects = helm.render(modelNetworkPolicy=values, watchNamespaces=["team-a", "team-b"])
    return of_kind(objects, POLICY)


def test_there_are_none_by_default(helm: Helm) -> None:
    assert of_kind(helm.render(watchNamespaces=["team-a"]), POLICY) == []


def test_the_operator_reaches_all_but_the_metadata_services(helm: Helm) -> None:
    spec = network(helm)

    assert spec["policyTypes"] == ["Ingress", "Egress"]
    assert spec["ingress"] == [{"ports": [{"port": "http"}]}]
    api = {"ports": [{"port": 443}, {"port": 6443}]}
    assert spec["egress"] == [DNS, api, ALL_BUT_METADATA]


def test_the_operator_reaches_dns_and_what_is_stated(helm: Helm) -> None:
    tracking = {"to": GATEWAYS, "ports": [{"port": 5000}]}
    assert network(helm, egress=[tracking])["egress"] == [DNS, tracking]


def test_metadata_services_may_be_others(helm: Helm) -> None:
    addresses = ["100.100.100.200/32", "169.254.169.254/32", "fd20:ce::254/128"]
    (*_, rule) = network(helm, metadataServices=addresses)["egress"]
    excepted = [block["ipBlock"]["except"] for block in rule["to"][1:]]
    assert excepted == [addresses[:2], addresses[2:]]


def test_nothing_is_excepted_where_there_is_no_metadata_service(helm: Helm) -> None:
    (*_, rule) = network(helm, metadataServices=[])["egress"]
    assert [block["ipBlock"]["except"] for block in rule["to"][1:]] == [[], []]


def test_each_namespace_of_models_has_one(helm: Helm) -> None:
    policies = models(helm)

    assert [policy["metadata"]["namespace"] for policy in policies] == ["team-a", "team-b"]
    for policy in policies:
        assert policy["metadata"]["name"] == f"{RELEASE}-models"
        # On every pod of the operator, and on no other: users may not set it.
        labels = {"app.kubernetes.io/managed-by": "mlflow-model-operator"}
        assert policy["spec"]["podSelector"] == {"matchLabels": labels}


def test_models_answer_everybody_and_reach_all_but_metadata_services(helm: Helm) -> None:
    for policy in models(helm):
        assert policy["spec"]["ingress"] == [
            {"ports": [{"port": 8080}, {"port": 8081}]},
            {"ports": [{"port": 9090}]},
        ]
        assert policy["spec"]["egress"] == [DNS, ALL_BUT_METADATA]


def test_models_answer_and_reach_who_is_stated(helm: Helm) -> None:
    registry = {"to": MONITORING, "ports": [{"port": 5000}]}
    stated = {"from": GATEWAYS, "metricsFrom": MONITORING, "egress": [registry]}

    for policy in models(helm, **stated):
        assert policy["spec"]["ingress"] == [
            {"ports": [{"port": 8080}, {"port": 8081}], "from": GATEWAYS},
            {"ports": [{"port": 9090}], "from": [*MONITORING, OPERATOR]},
        ]
        assert policy["spec"]["egress"] == [DNS, registry]


def test_in_all_namespaces_the_chart_says_what_to_do(helm: Helm) -> None:
    refusal = helm.refusal(modelNetworkPolicy={"enabled": True})
    assert "modelNetworkPolicy requires watchNamespaces" in refusal
    assert "docs/security.md" in refusal


def test_the_operators_policy_is_not_for_models(helm: Helm) -> None:
    objects = helm.render(
        networkPolicy={"enabled": True},
        modelNetworkPolicy={"enabled": True},
        watchNamespaces=[NAMESPACE],
    )
    selectors = [policy["spec"]["podSelector"] for policy in of_kind(objects, POLICY)]
    pod = the(objects, "Deployment")["spec"]["template"]["metadata"]["labels"]
    matching = [s for s in selectors if s["matchLabels"].items() <= pod.items()]
    assert len(matching) == 1


def test_webhooks_come_from_the_tracking_servers_and_go_on_to_the_replica_that_leads(
    helm: Helm,
) -> None:
    webhooks = {"enabled": True, "secret": "webhooks"}
    tracking = [{"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "mlflow"}}}]
    replicas = {
        "podSelector": {
            "matchLabels": {
                "app.kubernetes.io/name": RELEASE,
                "app.kubernetes.io/instance": RELEASE,
            }
        }
    }

    def spec(values: JsonObject, **network: Any) -> JsonObject:
        objects = helm.render(networkPolicy={"enabled": True, **network}, webhooks=values)
        return dict(the(objects, POLICY)["spec"])

    everybody = spec(webhooks)["ingress"]
    some = spec({**webhooks, "from": tracking}, egress=[{"ports": [{"port": 443}]}])

    assert everybody == [{"ports": [{"port": "http"}]}, {"ports": [{"port": "webhooks"}]}]
    assert some["ingress"][1]["from"] == [*tracking, replicas]
    assert some["egress"][-1] == {"ports": [{"port": "webhooks"}], "to": [replicas]}
