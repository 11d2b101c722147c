"""Runs uv: where it looks for packages, what it sees of the environment, what it says of failures.

Builds of source packages run as children of uv. They see neither the container's credentials nor
those of the index: uv gets a few variables only, and the indexes through a pipe.
"""

from __future__ import annotations

import json
import logging
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Sequence
from urllib.parse import quote, urlsplit

from packaging.utils import canonicalize_name

from mlflow_model_server.prepare.requirements import Line, ModelRequirements
from mlflow_model_server.runtime import isolation, server_packages
from mlflow_model_server.runtime.termination import StartupError, redact_urls
from mlflow_model_server.settings import Settings

log = logging.getLogger(__name__)

# The variables that uv and its children get besides the usual ones.
_VARIABLES = (
    *("SSL_CERT_FILE", "SSL_CERT_DIR", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "GIT_SSL_CAINFO"),
    *("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY"),
    *("http_proxy", "https_proxy", "all_proxy", "no_proxy"),
    *("UV_HTTP_TIMEOUT", "UV_HTTP_RETRIES", "UV_CONCURRENT_DOWNLOADS", "UV_LINK_MODE"),
    *("UV_SYSTEM_CERTS", "UV_NATIVE_TLS"),
)
# Where packages come from, if neither INDEX_URL nor NO_INDEX says it.
_INDEX_VARIABLES = ("UV_DEFAULT_INDEX", "UV_INDEX", "UV_INDEX_URL", "UV_EXTRA_INDEX_URL")
_MIN_SECRET = 4  # characters: of shorter values a message would lose its words
_UNREACHABLE = re.compile(
    r"Failed to fetch: `?(?P<fetched>\w+://[^\s`]+)"
    r"|Failed to read `--find-links` (?:URL|directory): `?(?P<page>[^\s`]+)"
)
# uv's hint about an index that it goes on without.
_DENIED = re.compile(
    r"index(?: URL)? \((?P<index>[^)\s]+)\)"
    r"(?: could not be queried [^(\n]{0,200}\((?P<unauthorized>401 \w{1,40})\)"
    r"| returned a (?P<forbidden>403 \w{1,40}))"
)
_UNTRUSTED = "invalid peer certificate"


class Uv:
    """Runs `uv pip install`, with files in a folder of its own beside the model's."""

    def __init__(self, settings: Settings, needed: ModelRequirements) -> None:
        self._settings = settings
        self._needed = needed
        self._folder = settings.model_dir / "uv"
        self._folder.mkdir(parents=True, exist_ok=True)
        self._index_options = self._usable_options()

    def file(self, option: str, name: str, lines: Sequence[object]) -> str:
        """The option that names a file of these lines."""
        path = self._folder / f"{name}.txt"
        path.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
        return f"{option}={path}"

    def install(self, *arguments: str) -> str:
        """Runs `uv pip install` with these arguments; returns its output.

        Raises StartupError with DependencyInstallFailed and the essence of uv's message, or with
        PackageIndexUnauthorized or PackageIndexUntrusted. Like pip,
        it goes on without those of the model's further indexes that can't be reached.
        """
        while True:
            done = self._run(arguments)
            if done.returncode == 0:
                return done.stderr
            if not self._drop_unreachable(done.stderr):
                raise self._failure(done.stderr)

    def clean_up(self) -> None:
        """Removes the files and uv's cache: the volume counts as the pod's own storage."""
        shutil.rmtree(self._folder, ignore_errors=True)

    def _run(self, arguments: Sequence[str]) -> subprocess.CompletedProcess[str]:
        command = [
            _uv_binary(),
            "pip",
            "install",
            f"--python={sys.executable}",
            # Builds could read an argument or a variable, and indexes have passwords.
            "--config-file=/dev/stdin",
            *([] if self._settings.allow_source_builds else ["--no-build"]),
            *(["--prerelease=allow"] if self._needed.prereleases else []),
            *arguments,
        ]
        return subprocess.run(
            command,
            cwd=self._settings.artifact,
            env=self._environment(),
            input=self._configuration(),
            capture_output=True,
            text=True,
            check=False,
        )

    def _environment(self) -> dict[str, str]:
        settings = self._settings
        own_index = settings.index_url or settings.no_index
        names = _VARIABLES if own_index else (*_VARIABLES, *_INDEX_VARIABLES)
        return {
            **isolation.environment(*names),
            # On the volume of the packages, so that they are linked rather than copied.
            "UV_CACHE_DIR": str(self._folder / "cache"),
            "UV_NO_PROGRESS": "1",
            "UV_PYTHON_DOWNLOADS": "never",
            "NO_COLOR": "1",
            "GIT_TERMINAL_PROMPT": "0",
        }

    def _usable_options(self) -> list[str]:
        """The model's own index options: the administrator's settings win over all of them."""
        options = self._needed.index_options
        if not (self._settings.index_url or self._settings.no_index):
            return list(options)
        if options:
            log.info("INDEX_URL or NO_INDEX is set: the model's own index options are ignored")
        return []

    def _configuration(self) -> str:
        """Where packages come from, as uv.toml."""
        settings, options = self._settings, self._index_options
        values = [tuple(option.partition("=")[::2]) for option in options]
        default = [value for name, value in values if name == "--index-url"][-1:]
        if settings.index_url:
            default = [settings.index_url]
        links = [*settings.find_links, *(v for name, v in values if name == "--find-links")]
        no_index = settings.no_index or "--no-index" in options
        # A model's files were written for pip, which uses the best version of all indexes.
        strategy = "first-index" if settings.index_url else "unsafe-best-match"
        lines = [
            f"index-strategy = {json.dumps(strategy)}",
            f"find-links = {json.dumps(links)}",
            *(["no-index = true"] if no_index else []),
        ]
        for name, value in values:
            if name == "--extra-index-url":
                lines += ["[[index]]", f"url = {json.dumps(value)}"]
        for value in default:
            lines += ["[[index]]", f"url = {json.dumps(value)}", "default = true"]
        return "\n".join(lines)

    def _drop_unreachable(self, said: str) -> bool:
        """Drops the further index or page of the model that uv could not read, if it is one."""
        failed = _unreachable(said)
        for option in self._index_options:
            name, _, value = option.partition("=")
            if failed and name != "--index-url" and failed.startswith(_without_user(value)):
                log.warning(
                    "an index or page that the model's requirements name can't be reached, and is "
                    "left out: %s",
                    redact_urls(self._redacted(value)),
                )
                self._index_options.remove(option)
                return True
        return False

    def _failure(self, said: str) -> StartupError:
        """What is at fault: the login, the certificate, or the requirements."""
        text = self._redacted(said)
        log.error("output of uv:\n%s", text)
        denied = _DENIED.search(text)
        if denied is not None:
            answer = denied["unauthorized"] or denied["forbidden"]
            return StartupError(
                "PackageIndexUnauthorized", f"The package index {denied['index']} answers {answer}"
            )
        if _UNTRUSTED in said:
            host = urlsplit(_unreachable(said)).netloc or "package index"
            return StartupError(
                "PackageIndexUntrusted",
                f"The certificate of {host} was not issued by an authority that the pod trusts",
            )
        message = explanation(text, self._needed.lines)
        return StartupError("DependencyInstallFailed", message + self._advice(said))

    def _advice(self, said: str) -> str:
        if "--no-build" in said or "uilding source distributions" in said:
            return ". Source packages are not built unless ALLOW_SOURCE_BUILDS is true"
        if _unreachable(said):
            return ". INDEX_URL may name an index that the pod can reach"
        for bound in server_packages.bounds(self._settings).values():
            if re.search(rf"\b{bound.name}\b", said):
                return f". The server itself needs {bound}"
        return ""

    def _redacted(self, text: str) -> str:
        """Without the values of variables that requirements may use, and the paths of URLs."""
        values = [os.environ.get(name, "") for name in self._settings.requirements_env]
        password = urlsplit(self._settings.index_url or "").password
        secrets = {value for value in (*values, password or "") if len(value) >= _MIN_SECRET}
        for secret in sorted({*secrets, *map(quote, secrets)}, key=len, reverse=True):
            text = text.replace(secret, "***")
        return re.sub(r"(\w://[^\s/`'\"]+)/[^\s`'\")]*", r"\1/…", redact_urls(text))


def explanation(said: str, lines: Sequence[Line]) -> str:
    """A sentence about why uv failed, which names the file and the line that it is about."""
    cause = _cause(said)
    for line in lines:
        name = re.escape(canonicalize_name(line.requirement.name)) if line.requirement else "(?!)"
        if re.search(rf"Because (there is no version of {name}\b|{name} was not found)", cause):
            return f"{line.file} names {line.package}, which no index has: {cause}"
    files = ", ".join(dict.fromkeys(line.file for line in lines)) or "the model"
    return f"The packages that {files} names can't be installed: {cause}"


def _cause(said: str) -> str:
    """uv's error on one line, without its title, frames and hints about the command line."""
    start = said.find("error:")
    text = said[start:] if start >= 0 else said
    lines = [re.sub(r"^[\s│├╰─▶×]+", "", line).strip() for line in text.splitlines()]
    lines = [re.sub(r"^(error|cause|Caused by): *", "", line, flags=re.I) for line in lines]
    reasons = [line for line in lines if line and not line.startswith(("hint:", "help:"))]
    if len(reasons) > 1 and reasons[0].startswith("No solution found"):
        reasons = reasons[1:]
    end = ", we can conclude that your requirements are unsatisfiable."
    return " ".join(reasons).removesuffix(end) or "uv gave no reason"


def _unreachable(said: str) -> str:
    """The URL or folder that uv could not read; "" if that is not what failed."""
    match = _UNREACHABLE.search(said)
    return _without_user(match["fetched"] or match["page"]) if match else ""


def _without_user(url: str) -> str:
    return re.sub(r"(?<=://)[^\s/@]+@", "", url).removeprefix("file://")


def _uv_binary() -> str:
    import uv

    return str(uv.find_uv_bin())
