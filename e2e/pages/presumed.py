"""What each page presumes: the resource, the versions and the files that it speaks of."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from dev import kube
from dev.cluster.settings import REPOSITORY
from e2e.pages import wine
from e2e.pages.shell import Shell
from tests.unit.docs.commands import Block

RELEASE = "mlflow-model-operator"
ANNOTATION = "mlflow-model-operator.dev/rollout"
SERVICE_PORT, GRPC_PORT = 8099, 8081
# As on docs/how-to/safe-release.md, with a first step for the impatient, and judged.
STEPS: dict[str, Any] = {
    "steps": [{"weight": 10, "hold": "5s"}, {"pause": {}}, {"weight": 50, "hold": "2m"}],
    "keepOld": "10m",
    "analysis": {"minRequests": 1, "interval": "5s", "onInconclusive": "Promote"},
}


@dataclass(frozen=True)
class Reader:
    """Somebody who reads a page: their shell, and the folder that they are in."""

    shell: Shell
    folder: Path

    def write(self, name: str, content: str) -> None:
        """Has a file of the reader's own."""
        (self.folder / name).write_text(content, encoding="utf-8")

    def forward(self, ports: str) -> None:
        """Forwards a port to the Service, as long as the page is read."""
        command = f"kubectl port-forward --namespace {wine.NAMESPACE} service/{wine.NAME} {ports}"
        self.shell.run(f"{command} > /dev/null &\n")

    def control(self, action: str) -> None:
        """Controls the rollout, as docs/rollouts.md has it."""
        value = f'{ANNOTATION}="{action}/$(date +%s%N)"'
        self.shell.run(f"kubectl annotate mmd {wine.NAME} --overwrite {value}\n")


Step = Callable[[Reader], None]


@dataclass(frozen=True)
class Page:
    """A page of the repository, and what there is before those of its blocks that have a text."""

    path: str
    before: Mapping[str, Step] = field(default_factory=dict)

    def step_before(self, block: Block) -> Step | None:
        """What to do before a block: the first step whose text is in its marker and commands."""
        marked = f"{block.about}\n{block.script}"
        return next((step for text, step in self.before.items() if text in marked), None)


def _no_release(_: Reader) -> None:
    """The chart's page has installed one."""
    kube.run("helm", "uninstall", RELEASE, f"--namespace={RELEASE}", "--wait", "--timeout=2m")


def _quick_polls(_: Reader) -> None:
    """So that nobody waits for an alias."""
    chart = str(REPOSITORY / "charts" / RELEASE)
    kube.run(
        *("helm", "upgrade", RELEASE, chart, f"--namespace={RELEASE}", "--reuse-values"),
        *("--set=pollInterval=2", "--wait", "--timeout=2m"),
    )


def _new_champion(_: Reader) -> None:
    wine.move_alias(wine.NEW_VERSION)


def _champion(_: Reader) -> None:
    wine.serve("no-gateway.yaml")


def _shadow(_: Reader) -> None:
    wine.serve("shadow.yaml")
    wine.wait_for("the shadow has a version", _has_shadow)


def _has_shadow(status: dict[str, Any]) -> bool:
    return "modelVersion" in status.get("shadow", {})


def _ab_test(_: Reader) -> None:
    wine.serve("ab.yaml")
    wine.wait_for("the canary is ready", _has_canary)
    wine.wait_until_the_gateway_answers()


def _has_canary(status: dict[str, Any]) -> bool:
    return bool(kube.conditions({"status": status}).get("CanaryReady", {}).get("status") == "True")


def _release_in_steps(_: Reader) -> None:
    wine.serve("wine.yaml", rollout=STEPS)
    wine.move_alias(wine.NEW_VERSION)


def _paused(_: Reader) -> None:
    wine.wait_for_phase("Paused")


def _in_its_last_step(_: Reader) -> None:
    wine.wait_for_phase("Progressing")


def _tried_again(reader: Reader) -> None:
    wine.wait_for_phase("Failed")
    reader.control("retry")
    wine.wait_for("the analysis has begun", _has_analysis, wine.ROLLOUT_SECONDS)


def _has_analysis(status: dict[str, Any]) -> bool:
    return bool(status.get("rollout", {}).get("analysis"))


def _promoted(reader: Reader) -> None:
    reader.control("promote")
    wine.wait_for_version(wine.NEW_VERSION)


def _manifest(reader: Reader) -> None:
    reader.write("wine.yaml", yaml.safe_dump(_release()))


def _wrong_manifest(reader: Reader) -> None:
    manifest = _release()
    manifest["spec"]["rollout"]["steps"][2]["weight"] = 150
    reader.write("wine.yaml", yaml.safe_dump(manifest))


def _release() -> dict[str, Any]:
    text = (REPOSITORY / "examples" / "wine.yaml").read_text(encoding="utf-8")
    manifest: dict[str, Any] = yaml.safe_load(text)
    steps = [*STEPS["steps"][:2], {**STEPS["steps"][2]}]
    manifest["spec"]["rollout"] = {**STEPS, "steps": steps}
    return manifest


def _two_columns(reader: Reader) -> None:
    """A model of the two columns that the page has, which also answers over gRPC."""
    version = wine.register_two_columns()
    server = {"grpc": True, "resources": {"requests": {"cpu": "50m", "memory": "400Mi"}}}
    wine.serve("no-gateway.yaml", model={"uri": f"models:/{wine.NAME}/{version}"}, server=server)
    wine.wait_for_version(version)
    reader.forward(f"{SERVICE_PORT}:80")
    wine.wait_until_it_answers(f"http://127.0.0.1:{SERVICE_PORT}/health")


def _grpc(reader: Reader) -> None:
    reader.forward(f"{GRPC_PORT}:8081 {SERVICE_PORT}:80")
    wine.wait_until_it_answers(f"http://127.0.0.1:{SERVICE_PORT}/health")


def _team(_: Reader) -> None:
    kube.apply({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "team-a"}})


# In this order: each page finds what the pages above it have left.
PAGES = (
    Page("charts/mlflow-model-operator/README.md"),
    Page("README.md", {"helm install": _no_release}),
    Page("docs/quickstart.md"),
    Page(
        "docs/how-to/updates.md", {"condition": _quick_polls, "stable.modelVersion": _new_champion}
    ),
    Page("docs/how-to/rollback.md"),
    Page("docs/how-to/access.md"),
    Page("docs/how-to/credentials.md", {"rollout restart": _champion}),
    Page("docs/how-to/shadow.md", {"status.shadow": _shadow}),
    Page("docs/how-to/ab-testing.md", {"x-tester": _ab_test}),
    Page(
        "docs/how-to/safe-release.md",
        {"--watch": _release_in_steps, "resume/": _paused, "abort/": _in_its_last_step},
    ),
    Page("docs/how-to/analysis.md", {"analysis": _tried_again}),
    Page(
        "docs/how-to/kubectl-plugin.md",
        {
            "mmd status": _paused,
            "mmd undo": _promoted,
            "fails\nkubectl mmd plan": _wrong_manifest,
            "mmd plan": _manifest,
        },
    ),
    Page("docs/rollouts.md"),
    Page("docs/how-to/input-formats.md", {"/invocations": _two_columns}),
    Page("docs/scoring-protocol.md", {"grpcurl": _grpc}),
    Page("docs/how-to/agents.md"),
    Page("docs/how-to/policy.md"),
    Page("docs/how-to/registry.md"),
    Page("docs/security.md", {"team-a": _team}),
    Page("docs/upgrading.md"),
)
