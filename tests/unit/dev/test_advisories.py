"""Locked packages against advisories, of a server that answers as osv.dev does."""

from __future__ import annotations

import json
import os
import subprocess
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from dev import advisories
from dev.advisories import Accepted, NotAvailable
from dev.cluster.settings import REPOSITORY

LOCK = """\
jinja2==3.1.0 \\
    --hash=sha256:00
Ray[serve]==2.60.0 ; python_version > "3.9"
    # via something==1.0
typing_extensions==4.1
"""
KNOWN = {("jinja2", "3.1.0"): ["GHSA-1", "PYSEC-1"]}


class Osv(ThreadingHTTPServer):
    """Knows some advisories, and counts requests."""

    answer: bytes | None = None
    asked = 0

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}/v1/querybatch"


class Handler(BaseHTTPRequestHandler):
    server: Osv

    def do_POST(self) -> None:
        self.server.asked += 1
        queries = json.loads(self.rfile.read(int(self.headers["content-length"])))["queries"]
        body = (
            self.server.answer or json.dumps({"results": list(map(self.result, queries))}).encode()
        )
        self.send_response(200)
        self.end_headers()
        self.wfile.write(body)

    def result(self, query: Any) -> dict[str, Any]:
        assert query["package"]["ecosystem"] == "PyPI"
        ids = KNOWN.get((query["package"]["name"], query["version"]), [])
        return {"vulns": [{"id": each} for each in ids]} if ids else {}

    def log_message(self, *_: Any) -> None:
        pass


@pytest.fixture
def osv() -> Iterator[Osv]:
    with Osv(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield server
        server.shutdown()
        thread.join()


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    root = tmp_path / "repository"
    root.mkdir()
    (root / "images.lock").write_text(LOCK)
    for command in (["init", "-q"], ["add", "."]):
        subprocess.run(["git", *command], cwd=root, check=True)
    return root


def test_pins() -> None:
    assert advisories.pins(LOCK) == {
        ("jinja2", "3.1.0"),
        ("ray", "2.60.0"),
        ("typing-extensions", "4.1"),
    }


def test_each_lock_of_the_repository_has_pins() -> None:
    for lock in advisories.lock_files():
        assert advisories.pins((REPOSITORY / lock).read_text()), lock


def test_an_advisory_fails(
    osv: Osv, repository: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert advisories.main(osv.url, repository, tmp_path) == 1
    first, *lines = capsys.readouterr().out.splitlines()
    assert first == "Advisories … 3 packages of 1 lock files, 2 to act on"
    assert lines[0].startswith("  jinja2 3.1.0 has https://osv.dev/GHSA-1 (images.lock): update it")


def test_accepted_ones_do_not() -> None:
    accepted = Accepted({"old/*": "tests"}, {"GHSA-1": "not reachable", "PYSEC-1": "the same"})
    locks = {"images.lock": {("jinja2", "3.1.0")}}
    assert list(advisories.report(locks, KNOWN, accepted)) == []
    assert accepted.covers("old/a.lock") and not accepted.covers("images.lock")


@pytest.mark.parametrize("entry", ['"GHSA-1" = ""', '"GHSA-1" = " "', '"GHSA-1" = true'])
def test_accepted_ones_have_reasons(tmp_path: Path, entry: str) -> None:
    file = tmp_path / "accepted.toml"
    file.write_text(f"[advisories]\n{entry}\n")
    with pytest.raises(ValueError, match="GHSA-1 has no reason"):
        advisories.read_accepted(file)
    assert advisories.read_accepted().locks


def test_it_is_asked_once_a_day(osv: Osv, tmp_path: Path) -> None:
    for _ in range(2):
        assert advisories.advisories_of(KNOWN, tmp_path, osv.url) == KNOWN
    assert osv.asked == 1
    (file,) = (tmp_path / "advisories").iterdir()
    os.utime(file, (0, 0))
    advisories.advisories_of(KNOWN, tmp_path, osv.url)
    assert osv.asked == 2


@pytest.mark.parametrize("answer", [b"<html>", b"[]", b'{"results": []}', b'{"code": 3}'])
def test_wrong_answers_are_none(osv: Osv, tmp_path: Path, answer: bytes) -> None:
    osv.answer = answer
    with pytest.raises(NotAvailable):
        advisories.advisories_of(KNOWN, tmp_path, osv.url)


def test_without_the_server_it_is_not_run(
    repository: Path, tmp_path: Path, unused_tcp_port: int, capsys: pytest.CaptureFixture[str]
) -> None:
    url = f"http://127.0.0.1:{unused_tcp_port}/"
    assert advisories.main(url, repository, tmp_path) == 0
    assert "Advisories … not run: they could not be had" in capsys.readouterr().out
