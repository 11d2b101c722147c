"""The image that our own Dockerfiles start from, and root filesystems from Debian packages."""

from __future__ import annotations

import os
import shutil
from collections.abc import Sequence
from pathlib import Path

from .engine import Engine, image_exists
from .files import fingerprint, new_file
from .packages import ROOT_FILESYSTEMS, ROOT_FILESYSTEMS_AS_USER, need_packages
from .progress import step
from .registry import ensure_pulled, say_built_instead
from .settings import PROJECT, Settings
from .shell import run
from .versions import DEBIAN, PYTHON_SLIM_IMAGE

BASE_IMAGE = f"{PROJECT}/base:{DEBIAN}"
BASE_PACKAGES = ("python3", "python3-venv", "ca-certificates")
BUNDLE = "/etc/ssl/certs/ca-certificates.crt"

# Package installs in `docker build` must trust what this machine trusts, and each client looks
# elsewhere for it.
TRUST = ("SSL_CERT_FILE", "REQUESTS_CA_BUNDLE", "PIP_CERT")


def ensure_base_image(settings: Settings, engine: Engine) -> str:
    """Return the name of an image with Python that Dockerfiles can start from."""
    if not image_exists(engine, BASE_IMAGE):
        if ensure_pulled(engine, PYTHON_SLIM_IMAGE):
            return PYTHON_SLIM_IMAGE
        say_built_instead(PYTHON_SLIM_IMAGE)
    ensure_local_base_image(settings, engine)
    return BASE_IMAGE


def ensure_local_base_image(settings: Settings, engine: Engine) -> None:
    """Make the base image from Debian packages."""
    if image_exists(engine, BASE_IMAGE):
        return
    archive = root_filesystem(settings, "base", BASE_PACKAGES)
    with step("Importing the base image", expected=5):
        environment = [f"--change=ENV {name}={BUNDLE}" for name in TRUST]
        command = '--change=CMD ["/bin/bash"]'
        run(
            "docker",
            "import",
            *environment,
            command,
            archive,
            BASE_IMAGE,
            log="images",
            env=engine.env,
        )


def root_filesystem(settings: Settings, name: str, packages: Sequence[str]) -> Path:
    """Return a tar archive of a minimal Debian with these packages and the CAs trusted here."""
    bundle = trusted_cas()
    inputs = fingerprint(DEBIAN, *sorted(packages), bundle.read_text() if bundle else "")
    archive = settings.cache / "rootfs" / f"{name}-{inputs}.tar"
    if not archive.exists():
        need_packages(ROOT_FILESYSTEMS if os.geteuid() == 0 else ROOT_FILESYSTEMS_AS_USER)
        with step(f"Creating a root filesystem from Debian packages: {name}", expected=25):
            _bootstrap(archive, packages, bundle)
    return archive


def trusted_cas() -> Path | None:
    """Return this machine's CA bundle."""
    named = os.environ.get("SSL_CERT_FILE") or BUNDLE
    return Path(named) if Path(named).is_file() else None


def _bootstrap(archive: Path, packages: Sequence[str], bundle: Path | None) -> None:
    with new_file(archive) as draft:
        # OpenSSL's own default place, for programs that read no environment variable.
        trust = [
            f"--customize-hook=upload {bundle} {BUNDLE}",
            f'--customize-hook=ln -sf {BUNDLE} "$1/usr/lib/ssl/cert.pem"',
        ]
        run(
            "mmdebstrap",
            "--variant=minbase",
            "--format=tar",
            f"--include={','.join(packages)}",
            "--dpkgopt=path-exclude=/usr/share/man/*",
            "--dpkgopt=path-exclude=/usr/share/doc/*",
            "--dpkgopt=path-exclude=/usr/share/locale/*",
            *(trust if bundle and "ca-certificates" in packages else []),
            DEBIAN,
            draft,
            log="rootfs",
        )


def remove_scratch(settings: Settings) -> None:
    """Remove what interrupted builds left in the cache."""
    for leftover in settings.cache.glob("*/.scratch-*"):
        shutil.rmtree(leftover, ignore_errors=True)
