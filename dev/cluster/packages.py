"""Installing Debian packages that this machine lacks."""

from __future__ import annotations

import os
from collections.abc import Mapping

from .errors import ClusterError
from .progress import step
from .shell import run, which

# The program that shows a package is there → the packages that bring it.
ENGINE = {"dockerd": ("docker.io",), "iptables": ("iptables",)}
ROOT_FILESYSTEMS = {"mmdebstrap": ("mmdebstrap", "debian-archive-keyring")}
# Who isn't root becomes so in a namespace.
ROOT_FILESYSTEMS_AS_USER = ROOT_FILESYSTEMS | {"newuidmap": ("uidmap",)}


def need_packages(wanted: Mapping[str, tuple[str, ...]]) -> None:
    """Install the packages whose program is missing, if we may."""
    missing = [
        package for program, names in wanted.items() if not which(program) for package in names
    ]
    if not missing:
        return
    listed = ", ".join(missing)
    if os.geteuid() != 0 or not which("apt-get"):
        raise ClusterError(
            f"These required Debian packages are missing; install them first: {listed}."
        )
    with step(f"Installing Debian packages: {listed}", expected=30):
        _install(missing)


def _install(names: list[str]) -> None:
    quiet = {"DEBIAN_FRONTEND": "noninteractive"}
    run("apt-get", "update", "-qq", log="apt", env=quiet)
    run("apt-get", "install", "-y", "--no-install-recommends", *names, log="apt", env=quiet)
