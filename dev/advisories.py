"""Checks the locked Python packages against known advisories: python -m dev.advisories.

The advisories are those of https://osv.dev, which has PyPI's, GitHub's and others. It is asked once
a day, for all lock files together, and only for names and versions. Without it the check is not
run, which it says. It fails for an advisory that accepted_advisories.toml does not have.
"""

from __future__ import annotations

import fnmatch
import hashlib
import http.client
import json
import os
import re
import subprocess
import sys
import time
import tomllib
import urllib.request
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dev.cluster.files import write_atomically
from dev.cluster.settings import REPOSITORY, read_settings

URL = "https://api.osv.dev/v1/querybatch"
ACCEPTED = Path(__file__).with_name("accepted_advisories.toml")
MAX_AGE = 86_400.0  # seconds
# For all requests together: a check of the code does not wait longer for a server.
TIMEOUT = 20.0
_MAX_RESPONSE = 32 << 20
_PACKAGES_PER_REQUEST = 500
_PIN = re.compile(r"^([A-Za-z0-9][\w.-]*)(?:\[[^]]*\])?==([^\s;\\]+)", re.MULTILINE)

Pin = tuple[str, str]  # a name and a version


class NotAvailable(Exception):
    """The advisories could not be had; the message says why."""


@dataclass(frozen=True)
class Accepted:
    """What is to be passed over, each with a reason."""

    locks: Mapping[str, str]  # patterns of paths
    advisories: Mapping[str, str]

    def covers(self, lock: str) -> bool:
        """Whether a lock file is not checked."""
        return any(fnmatch.fnmatch(lock, pattern) for pattern in self.locks)


def read_accepted(path: Path = ACCEPTED) -> Accepted:
    """The file of what is accepted. Raises ValueError for an entry without a reason."""
    tables = tomllib.loads(path.read_text())
    for name, reason in ((n, r) for table in tables.values() for n, r in table.items()):
        if not isinstance(reason, str) or not reason.strip():
            raise ValueError(f"{path.name}: {name} has no reason: write why it is accepted")
    return Accepted(tables.get("locks", {}), tables.get("advisories", {}))


def lock_files(root: Path = REPOSITORY) -> list[str]:
    """All that are in the repository."""
    listed = subprocess.run(
        ["git", "ls-files", "*.lock"], cwd=root, check=True, capture_output=True, text=True
    )
    return listed.stdout.split()


def pins(lock: str) -> set[Pin]:
    """The packages of a lock file's text."""
    return {(re.sub(r"[-_.]+", "-", name).lower(), version) for name, version in _PIN.findall(lock)}


def advisories_of(packages: Iterable[Pin], cache: Path, url: str = URL) -> dict[Pin, list[str]]:
    """The advisories of each package that has any. Raises NotAvailable."""
    wanted = sorted(packages)
    digest = hashlib.sha256(json.dumps([url, wanted]).encode()).hexdigest()[:16]
    file = cache / "advisories" / f"{digest}.json"
    if not file.exists() or time.time() - file.stat().st_mtime > MAX_AGE:
        deadline = time.monotonic() + TIMEOUT
        parts = [
            wanted[i : i + _PACKAGES_PER_REQUEST]
            for i in range(0, len(wanted), _PACKAGES_PER_REQUEST)
        ]
        found = [each for part in parts for each in _ask(part, url, deadline)]
        file.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(file, json.dumps(found))
    found = json.loads(file.read_text())
    return {pin: ids for pin, ids in zip(wanted, found, strict=True) if ids}


def _ask(packages: list[Pin], url: str, deadline: float) -> list[list[str]]:
    queries = [
        {"package": {"name": name, "ecosystem": "PyPI"}, "version": version}
        for name, version in packages
    ]
    results = _post({"queries": queries}, url, deadline).get("results")
    if not isinstance(results, list) or len(results) != len(packages):
        raise NotAvailable(f"{url} has not answered for each package")
    return [list(_ids(result)) for result in results]


def _ids(result: Any) -> Iterator[str]:
    if result.get("next_page_token"):
        raise NotAvailable("a package has more advisories than are sent at once")
    yield from (each["id"] for each in result.get("vulns", ()))


def _post(body: Any, url: str, deadline: float) -> dict[str, Any]:
    request = urllib.request.Request(
        url, json.dumps(body).encode(), {"Content-Type": "application/json"}
    )
    try:
        timeout = max(0.1, deadline - time.monotonic())
        with urllib.request.urlopen(request, timeout=timeout) as response:
            answer = json.loads(_read(response, deadline))
    except (OSError, ValueError, http.client.HTTPException) as error:
        raise NotAvailable(f"{url}: {str(error)[:200]}") from None
    if not isinstance(answer, dict):
        raise NotAvailable(f"{url} has answered something else")
    return answer


def _read(response: http.client.HTTPResponse, deadline: float) -> bytes:
    content = b""
    while part := response.read1(1 << 16):
        content += part
        if len(content) > _MAX_RESPONSE or time.monotonic() > deadline:
            raise OSError("the answer is too long, or too slow")
    return content


def report(
    locks: Mapping[str, set[Pin]], found: Mapping[Pin, list[str]], accepted: Accepted
) -> Iterator[str]:
    """A line for each advisory that is not accepted."""
    for (name, version), ids in sorted(found.items()):
        where = ", ".join(
            sorted(lock for lock, packages in locks.items() if (name, version) in packages)
        )
        for each in sorted(set(ids) - accepted.advisories.keys()):
            yield f"{name} {version} has https://osv.dev/{each} ({where})"


def main(url: str = "", root: Path = REPOSITORY, cache: Path | None = None) -> int:
    """Prints one line, or one for each advisory; 1 where there are any."""
    accepted = read_accepted()
    names = [name for name in lock_files(root) if not accepted.covers(name)]
    locks = {name: pins((root / name).read_text()) for name in names}
    packages = set().union(*locks.values())
    address = url or os.environ.get("ADVISORIES_URL") or URL
    try:
        found = advisories_of(packages, cache or read_settings().cache, address)
    except NotAvailable as error:
        print(f"Advisories … not run: they could not be had: {error}")
        return 0
    lines = list(report(locks, found, accepted))
    print(
        f"Advisories … {len(packages)} packages of {len(locks)} lock files, {len(lines)} to act on"
    )
    for line in lines:
        print(f"  {line}: update it, or accept it with a reason in dev/{ACCEPTED.name}")
    return 1 if lines else 0


if __name__ == "__main__":
    sys.exit(main())
