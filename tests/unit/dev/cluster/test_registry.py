"""Whether images come from a registry or are built: decided quickly, whatever the registry does."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from dev.cluster import nodeimage, registry
from dev.cluster.engine import Engine
from dev.cluster.errors import ClusterError
from dev.cluster.registry import ensure_pulled, nodes_can_pull
from dev.cluster.settings import read_settings

ENGINE = Engine(ours=False)
NODE = "kindest/node:v1@sha256:0123"
ADDONS = ("registry.example.com/a:1", "registry.example.com/b:1")

Docker = Callable[[str], Path]


@pytest.fixture
def docker(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Docker:
    """A client whose engine has no image; what other commands do is a line of shell."""
    monkeypatch.setenv("MMO_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    monkeypatch.setattr(registry, "ANSWER_SECONDS", 5.0)
    for cached in (ensure_pulled, nodes_can_pull):
        cached.cache_clear()

    def behaves(script: str) -> Path:
        calls = tmp_path / "calls"
        (tmp_path / "docker").write_text(
            f'#!/bin/sh\necho "$*" >> {calls}\n[ "$1" != image ] || exit 1\n{script}\n'
        )
        (tmp_path / "docker").chmod(0o755)
        return calls

    return behaves


def test_an_image_that_a_registry_has_is_pulled_and_the_pull_is_shown(
    docker: Docker, capsys: pytest.CaptureFixture[str]
) -> None:
    calls = docker("echo 'v1: Pulling from kindest/node'; echo done")

    assert ensure_pulled(ENGINE, NODE)
    assert f"pull {NODE}" in calls.read_text()
    assert capsys.readouterr().err.startswith("Pulling kindest/node:v1 (about 30 s) …")


def test_a_refused_pull_is_no_image_and_not_shown(
    docker: Docker, capsys: pytest.CaptureFixture[str]
) -> None:
    docker("echo 'Error response from daemon: manifest unknown' >&2; exit 1")

    assert not ensure_pulled(ENGINE, NODE)
    assert capsys.readouterr().err == ""


def test_a_pull_that_breaks_off_is_no_image(docker: Docker) -> None:
    docker("echo 'v1: Pulling from kindest/node'; exit 1")

    assert not ensure_pulled(ENGINE, NODE)


def test_a_registry_that_does_not_answer_is_given_up(
    docker: Docker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(registry, "ANSWER_SECONDS", 0.2)
    docker("exec tail -f /dev/null")

    assert not ensure_pulled(ENGINE, NODE)
    assert not nodes_can_pull(ENGINE, NODE)


def test_nodes_ask_the_registry_itself(docker: Docker) -> None:
    calls = docker("exit 0")

    assert nodes_can_pull(ENGINE, NODE)
    assert calls.read_text() == f"manifest inspect {NODE}\n"


def upstream(node_image: str | None = None) -> str | None:
    environ = {"NODE_IMAGE": node_image} if node_image else {}
    return nodeimage.upstream_node_image(read_settings(environ), ENGINE, ADDONS)


def test_kinds_own_node_image_is_used_where_all_can_be_had(
    docker: Docker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(nodeimage, "kind_default_image", lambda: NODE)
    docker("echo a line")

    assert upstream() == NODE


def test_what_nodes_could_not_pull_decides_before_anything_big_is_pulled(
    docker: Docker, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(nodeimage, "kind_default_image", lambda: NODE)
    calls = docker(f'[ "$3" != {ADDONS[1]} ]')

    assert upstream() is None
    assert "pull" not in calls.read_text()
    assert capsys.readouterr().err == (
        f"No available registry has {ADDONS[1]}: building from packages instead.\n"
    )


def test_a_node_image_that_is_named_is_the_one(docker: Docker) -> None:
    calls = docker("echo a line")

    assert upstream("kindest/node:v2") == "kindest/node:v2"
    assert "pull kindest/node:v2\n" in calls.read_text()


def test_another_is_not_put_in_place_of_the_one_that_is_named(docker: Docker) -> None:
    docker("exit 1")

    with pytest.raises(ClusterError, match=f"NODE_IMAGE needs a registry.*{ADDONS[0]}"):
        upstream("kindest/node:v2")
