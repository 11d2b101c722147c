"""Which packages a model's own files name. The files are those that MLflow writes.

MLflow's order is kept: `python_env.yaml` (which refers to `requirements.txt`) first; where an older
MLflow wrote none, `requirements.txt`; else the pip section of `conda.yaml`. See
https://mlflow.org/docs/latest/ml/model/dependencies/.

`build_dependencies` (pip, setuptools, wheel) are not taken: uv builds with what each package names,
and the image has a setuptools for code that still imports pkg_resources.
"""

from __future__ import annotations

import logging
import os
import re
import shlex
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml
from packaging.requirements import InvalidRequirement, Requirement
from packaging.utils import (
    InvalidWheelFilename,
    parse_sdist_filename,
    parse_wheel_filename,
)

from mlflow_model_server.runtime.termination import Failed, last_line, without_passwords

log = logging.getLogger(__name__)

# Options of requirements files, by what becomes of them.
_INCLUDE = {"-r", "--requirement"}
_CONSTRAIN = {"-c", "--constraint"}
_INDEX = {
    "-i": "--index-url",
    "--index-url": "--index-url",
    "--extra-index-url": "--extra-index-url",
    "-f": "--find-links",
    "--find-links": "--find-links",
    "--trusted-host": "--allow-insecure-host",
    "--no-index": "--no-index",
}
_KEPT = {"--no-binary", "--only-binary"}
_EDITABLE = {"-e", "--editable"}
_CONDA_TOOLS = {"python", "pip", "setuptools", "wheel"}


@dataclass(frozen=True)
class Line:
    """One package that a file asks for, or an option that concerns packages.

    `text` is as uv reads it, with absolute paths. `requirement` is None where nothing but uv can
    say what it is: a path or URL without a name, or an option.
    """

    text: str
    file: str
    requirement: Requirement | None = None
    hashes: str = ""  # "--hash=sha256:… --hash=…"

    def __str__(self) -> str:
        return f"{self.text} {self.hashes}".strip()


@dataclass
class Wanted:
    """What a model's files ask for."""

    python: str | None = None  # "3.11.7"
    lines: list[Line] = field(default_factory=list)
    constraints: list[Line] = field(default_factory=list)
    index_options: list[str] = field(default_factory=list)  # for uv's command line
    prereleases: bool = False


def read(model: Path, mlmodel: dict[str, Any]) -> Wanted:
    """Reads the environment files of a model folder. Relative paths in them start there.

    `mlmodel` is the content of its MLmodel file, which may name the files. Raises Failed with
    DependencyInstallFailed for what can't be read as a requirement.
    """
    reader = _Reader(model)
    python_env, conda = _file_names(mlmodel)
    if (model / python_env).is_file():
        reader.python_env(python_env)
    else:
        reader.conda(conda, take_pip=not (model / "requirements.txt").is_file())
        if (model / "requirements.txt").is_file():
            reader.requirements("requirements.txt")
    return reader.wanted


def _file_names(mlmodel: dict[str, Any]) -> tuple[str, str]:
    """python_env.yaml and conda.yaml, by the names that the python_function flavor gives them."""
    env = mlmodel.get("flavors", {}).get("python_function", {}).get("env")
    if isinstance(env, dict):
        return env.get("virtualenv") or "python_env.yaml", env.get("conda") or "conda.yaml"
    # Before MLflow 2.0 only conda.yaml had an entry.
    return "python_env.yaml", env if isinstance(env, str) else "conda.yaml"


class _Reader:
    """Collects what the files of one model name, following those that they include."""

    def __init__(self, model: Path) -> None:
        self.wanted = Wanted()
        self._model = model
        self._open: list[str] = []

    def python_env(self, name: str) -> None:
        content = self._yaml(name)
        self.wanted.python = _text(content.get("python"))
        for line in content.get("dependencies") or ():
            self._take(str(line), name, self.wanted.lines)

    def conda(self, name: str, take_pip: bool) -> None:
        if not (self._model / name).is_file():
            return
        for entry in self._yaml(name).get("dependencies") or ():
            if isinstance(entry, dict):
                for line in (entry.get("pip") or ()) if take_pip else ():
                    self._take(str(line), name, self.wanted.lines)
            else:
                self._conda_package(str(entry), name)

    def _conda_package(self, entry: str, name: str) -> None:
        package = re.split(r"[ =<>!]", entry, maxsplit=1)[0]
        if package == "python":
            found = re.search(r"[\d.]+", entry)
            self.wanted.python = found.group() if found else None
        elif package not in _CONDA_TOOLS:
            log.warning(
                "%s names the conda package %r, which is not installed: only what its pip section "
                "names is",
                name,
                entry,
            )

    def requirements(self, name: str) -> None:
        self._lines(name, self.wanted.lines, named_by="The model")

    def _lines(self, name: str, into: list[Line], named_by: str) -> None:
        if name in self._open:
            return
        if not (self._model / name).is_file():
            raise _refused(named_by, f"refers to {name}, which does not exist")
        self._open.append(name)
        # A backslash at its end continues a line.
        text = re.sub(r"\\\r?\n", " ", self._read(name))
        for line in text.splitlines():
            self._take(line, name, into)
        self._open.pop()

    def _take(self, line: str, file: str, into: list[Line]) -> None:
        """Takes one line of a requirements file that is called `file`."""
        line = re.sub(r"(^|\s)#.*$", "", line).strip()
        if not line:
            return
        line = re.sub(r"\$\{([A-Z0-9_]+)\}", lambda m: os.environ.get(m[1], m[0]), line)
        if line.startswith("-"):
            self._option(line, file, into)
        else:
            into.append(self._requirement(line, file))

    def _option(self, line: str, file: str, into: list[Line]) -> None:
        option, value = _split_option(line)
        if option in _INCLUDE or option in _CONSTRAIN:
            if "://" in value:
                raise _refused(file, f"includes {value}: write what it holds into {file} itself")
            # As pip does: from the file that includes, not from the folder where it all began.
            included = (Path(file).parent / value).as_posix()
            lines = into if option in _INCLUDE else self.wanted.constraints
            self._lines(included, lines, named_by=file)
        elif option in _INDEX:
            flag = _INDEX[option]
            self.wanted.index_options.append(f"{flag}={self._place(value)}" if value else flag)
        elif option in _EDITABLE:
            into.append(self._requirement(value, file))
        elif option in _KEPT:
            into.append(Line(f"{option} {value}", file))
        elif option == "--pre":
            self.wanted.prereleases = True
        else:
            log.warning("%s: the option %s is ignored", file, without_passwords(line))

    def _requirement(self, line: str, file: str) -> Line:
        text, options = _split_requirement(line)
        hashes = " ".join(part for part in options if part.startswith("--hash"))
        try:
            parsed = Requirement(text)
        except InvalidRequirement as error:
            if not _is_place(text):
                raise _refused(
                    file, f"has a line that is no requirement, {text!r}: {last_line(error)}"
                ) from None
            return self._unnamed(text, file, hashes)
        if parsed.url and "://" not in parsed.url:
            parsed.url = self._place(parsed.url)
            text = str(parsed)
        return Line(text, file, parsed, hashes)

    def _unnamed(self, text: str, file: str, hashes: str) -> Line:
        """A wheel, source archive, folder or URL without `name @` before it."""
        text, semicolon, marker = text.partition(" ;")
        place, bar, extras = text.strip().partition("[")
        where = self._place(place)
        if "://" not in where:
            if not Path(where).exists():
                raise _refused(file, f"names {place}, which the model's folder does not have")
            where = Path(where).as_uri()
        name = _package_name(place)
        if name is None:
            return Line(f"{where}{semicolon}{marker}", file, None, hashes)
        named = f"{name}{bar}{extras} @ {where}{semicolon}{marker}"
        return Line(named, file, Requirement(named), hashes)

    def _place(self, text: str) -> str:
        """A relative path as an absolute one; anything else as it is."""
        if "://" in text or text.startswith("/"):
            return text
        return str((self._model / text.removeprefix("file:")).absolute())

    def _yaml(self, name: str) -> dict[str, Any]:
        try:
            content = yaml.safe_load(self._read(name))
        except yaml.YAMLError as error:
            raise _refused(name, f"is not YAML: {last_line(error)}") from error
        return content if isinstance(content, dict) else {}

    def _read(self, name: str) -> str:
        try:
            return (self._model / name).read_text(encoding="utf-8-sig")
        except (OSError, UnicodeDecodeError) as error:
            raise _refused(name, f"can't be read: {last_line(error)}") from error


def _split_option(line: str) -> tuple[str, str]:
    """`--index-url=X` and `--index-url X` and `-rX` as option and value."""
    if not line.startswith("--"):
        return line[:2], line[2:].lstrip(" =").strip("\"'")
    option, _, value = re.sub(r"[ =]", "\0", line, count=1).partition("\0")
    return option, value.strip().strip("\"'")


def _split_requirement(line: str) -> tuple[str, list[str]]:
    """A requirement and the options behind it (`--hash=…`, `--config-settings=…`)."""
    text, found, options = line.partition(" --")
    return " ".join(text.split()), shlex.split(f"--{options}") if found else []


def _is_place(text: str) -> bool:
    archives = (".whl", ".tar.gz", ".zip")
    return "://" in text or "/" in text or text.startswith(".") or text.endswith(archives)


def _package_name(place: str) -> str | None:
    """The package in a wheel or source archive, by its file name."""
    filename = re.split(r"[/\\]", place.partition("?")[0].partition("#")[0])[-1]
    try:
        return str(parse_wheel_filename(filename)[0])
    except InvalidWheelFilename:
        pass
    try:
        return str(parse_sdist_filename(filename)[0])
    except ValueError:
        return None


def _refused(file: str, what: str) -> Failed:
    return Failed("DependencyInstallFailed", f"{file} {what}")


def _text(value: Any) -> str | None:
    return None if value is None else str(value)
