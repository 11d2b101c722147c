"""The steps of a release after the images, which `make push` builds and pushes.

    python3 -m dev.release check v0.1.0    the tag is the version that the files say
    python3 -m dev.release chart           dist/mlflow-model-operator-0.1.0.tgz
    python3 -m dev.release push-chart      to oci://REGISTRY/charts
    python3 -m dev.release sign            images and chart, by cosign, without a key
    python3 -m dev.release notes           the text of the release's page

REGISTRY is where the images are, REPOSITORY_URL the repository's address. HELM_FLAGS, like
--plain-http, are added to `helm push`.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Mapping

from dev.release import chart, versions

DIST = versions.REPOSITORY / "dist"


class ReleaseError(Exception):
    """What has to be done first, in a sentence."""


def main(arguments: list[str]) -> int:
    """Runs one step; a problem is one sentence."""
    step = STEPS.get(arguments[0] if arguments else "")
    if step is None:
        print(__doc__, file=sys.stderr)
        return 2
    try:
        step(arguments[1:])
    except (ReleaseError, versions.VersionError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    except subprocess.CalledProcessError as error:
        print(f"error: {error.cmd[0]} ended with {error.returncode}", file=sys.stderr)
        return 1
    return 0


def check(arguments: list[str]) -> None:
    """Refuses a tag that is not the version of all files, or that the changelog does not have."""
    if len(arguments) != 1:
        raise ReleaseError("name the tag: python3 -m dev.release check v0.1.0")
    versions.check(arguments[0])


def package_chart(_: list[str]) -> None:
    """Packages the chart, which gets its images from REGISTRY unless somebody says otherwise."""
    folder = chart.prepare(DIST / "chart", _registry(), _repository_url(), versions.current())
    _run("helm", "package", str(folder), f"--destination={DIST}")


def push_chart(_: list[str]) -> None:
    """Pushes the package, and notes its digest."""
    flags = os.environ.get("HELM_FLAGS", "").split()
    package = DIST / f"{chart.NAME}-{versions.current()}.tgz"
    command = ("helm", "push", str(package), f"oci://{_registry()}/charts", *flags)
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    said = done.stdout + done.stderr
    if done.returncode != 0:
        raise ReleaseError(f"helm push failed: {said.strip()}")
    digest = next(
        (line.split()[-1] for line in said.splitlines() if line.startswith("Digest:")), ""
    )
    (DIST / "chart-digest").write_text(digest, encoding="utf-8")
    print(f"{_registry()}/charts/{chart.NAME}@{digest}")


def sign(arguments: list[str]) -> None:
    """Signs everything by its digest; --dry-run prints the commands."""
    for name in signed_names(os.environ):
        command = ("cosign", "sign", "--yes", name)
        if arguments == ["--dry-run"]:
            print(" ".join(command))
        else:
            _run(*command)


def notes(_: list[str]) -> None:
    """What is new, and how to install it."""
    version, registry = versions.current(), _registry()
    names = "\n".join(signed_names(os.environ))
    print(
        f"{versions.changes(version)}\n\n## Install\n\n```console\n"
        f"$ helm install mlflow-model-operator oci://{registry}/charts/{chart.NAME} \\\n"
        f"    --version {version} --namespace mlflow-model-operator --create-namespace\n```\n\n"
        f"## Images and chart, by digest\n\n```\n{names}\n```"
    )


def signed_names(environ: Mapping[str, str]) -> list[str]:
    """The images and the chart of a release, each by its digest."""
    file = DIST / "digests.json"
    if not file.exists():
        raise ReleaseError("dist/digests.json is missing: run `make push` first")
    digests: dict[str, str] = json.loads(file.read_text(encoding="utf-8"))
    names = [f"{name.rpartition(':')[0]}@{digest}" for name, digest in digests.items()]
    chart_digest = DIST / "chart-digest"
    if chart_digest.exists():
        digest = chart_digest.read_text(encoding="utf-8")
        names.append(f"{environ.get('REGISTRY', '')}/charts/{chart.NAME}@{digest}")
    return names


def _registry() -> str:
    registry = os.environ.get("REGISTRY", "").rstrip("/")
    if not registry:
        raise ReleaseError("set REGISTRY to where the images are, like registry.example.com/team")
    return registry


def _repository_url() -> str:
    return os.environ.get("REPOSITORY_URL", "").rstrip("/")


def _run(*command: str) -> None:
    subprocess.run(command, check=True)


STEPS: dict[str, Callable[[list[str]], None]] = {
    "check": check,
    "chart": package_chart,
    "push-chart": push_chart,
    "sign": sign,
    "notes": notes,
}

if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
