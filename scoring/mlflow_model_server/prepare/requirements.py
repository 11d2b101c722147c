"""Which packages a model's own files name. The files are those that MLflow writes.

MLflow's order is kept: `python_env.yaml` (which refers to `requirements.txt`) first; where an older
MLflow wrote none, `requirements.txt`; else the pip section of `conda.yaml`. See
https://mlflow.org/docs/latest/ml/model/dependencies/.

`build_dependencies` (pip, setuptools, wheel) are not read: uv builds with what each package names,
and the image has a setuptools for code that still imports pkg_resources.

The files come from whoever registered the model, and what is said of them ends in the resource's
status, which more people read than Secrets. So they include nothing outside the model's folder,
expand only the variables that the administrator allows (REQUIREMENTS_ENV), and a message names a
file and a line but never repeats it. Which sources of packages are allowed is policy.py's to say.
"""

from __future__ import annotations

import logging
import os
import re
import shlex
from collections.abc import Collection, Iterator
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

from mlflow_model_server.runtime.termination import StartupError

log = logging.getLogger(__name__)

# Options of requirements files, by their effect.
_INCLUDE = {"-r", "--requirement"}
_CONSTRAIN = {"-c", "--constraint"}
_INDEX = {
    "-i": "--index-url",
    "--index-url": "--index-url",
    "--extra-index-url": "--extra-index-url",
    "-f": "--find-links",
    "--find-links": "--find-links",
    "--no-index": "--no-index",
}
_FORMATS = {"--no-binary", "--only-binary"}
_EDITABLE = {"-e", "--editable"}
_CONDA_TOOLS = {"python", "pip", "setuptools", "wheel"}
# A line break in a line would be a line of its own in the file that uv reads.
_CONTROL = re.compile(r"[\x00-\x08\x0a-\x1f\x7f-\x9f\u2028\u2029]")
# As pip and uv expand them: https://pip.pypa.io/en/stable/reference/requirements-file-format/.
_VARIABLE = re.compile(r"\$\{([A-Z0-9_]+)\}")
_HASH = re.compile(r"--hash=[a-z0-9]{2,16}:[0-9a-fA-F]{1,256}")
_PACKAGES = re.compile(r"[\w.,:*-]+")


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
    place: str = ""  # where in the file, as "line 3"

    def __str__(self) -> str:
        return f"{self.text} {self.hashes}".strip()

    @property
    def package(self) -> str:
        """Name and versions, for messages; "" where nothing but uv can say what it is."""
        return f"{self.requirement.name}{self.requirement.specifier}" if self.requirement else ""

    @property
    def where(self) -> str:
        """File and place, for messages."""
        return f"{self.file} {self.place}".strip()

    @property
    def url(self) -> str:
        """Where the package is, if the line says so: a URL; "" for a package of an index."""
        if self.requirement is not None:
            return self.requirement.url or ""
        return "" if self.text.startswith("-") else self.text


@dataclass
class ModelRequirements:
    """The requirements in a model's files."""

    python: str | None = None  # "3.11.7"
    lines: list[Line] = field(default_factory=list)
    constraints: list[Line] = field(default_factory=list)
    index_options: list[str] = field(default_factory=list)  # for uv's command line
    prereleases: bool = False


def read(
    model: Path, mlmodel: dict[str, Any], variables: Collection[str] = ()
) -> ModelRequirements:
    """Reads the environment files of a model folder. Relative paths in them start there.

    `mlmodel` is the content of its MLmodel file, which may name the files; `variables` are the
    names of environment variables that the files may use, as `${NAME}`. Raises StartupError with
    DependencyInstallFailed for what can't be read as a requirement.
    """
    reader = _Reader(model, variables)
    python_env, conda = _file_names(mlmodel)
    if (model / python_env).is_file():  # a link to elsewhere is refused by its reader
        reader.python_env(python_env)
    else:
        reader.conda(conda, with_pip=not (model / "requirements.txt").is_file())
        if (model / "requirements.txt").is_file():
            reader.requirements("requirements.txt")
    return reader.needed


def _file_names(mlmodel: dict[str, Any]) -> tuple[str, str]:
    """python_env.yaml and conda.yaml, by the names that the python_function flavor gives them."""
    env = mlmodel.get("flavors", {}).get("python_function", {}).get("env")
    if isinstance(env, dict):
        return env.get("virtualenv") or "python_env.yaml", env.get("conda") or "conda.yaml"
    # Before MLflow 2.0 only conda.yaml had an entry.
    return "python_env.yaml", env if isinstance(env, str) else "conda.yaml"


class _Reader:
    """Collects what the files of one model name, following those that they include."""

    def __init__(self, model: Path, variables: Collection[str]) -> None:
        self.needed = ModelRequirements()
        self._model = model
        self._variables = variables
        self._open: list[str] = []

    def python_env(self, name: str) -> None:
        content = self._yaml(name)
        self.needed.python = _text(content.get("python"))
        for number, line in enumerate(content.get("dependencies") or (), start=1):
            self._read_line(str(line), name, f"dependency {number}", self.needed.lines)

    def conda(self, name: str, with_pip: bool) -> None:
        if not (self._model / name).is_file():
            return
        for entry in self._yaml(name).get("dependencies") or ():
            if isinstance(entry, dict):
                lines = (entry.get("pip") or ()) if with_pip else ()
                for number, line in enumerate(lines, start=1):
                    self._read_line(str(line), name, f"pip dependency {number}", self.needed.lines)
            else:
                self._conda_package(str(entry), name)

    def _conda_package(self, entry: str, name: str) -> None:
        package = re.split(r"[ =<>!]", entry, maxsplit=1)[0]
        if package == "python":
            version = re.search(r"[\d.]+", entry)
            self.needed.python = version.group() if version else None
        elif package not in _CONDA_TOOLS:
            log.warning(
                "%s names the conda package %r, which is not installed: only the "
                "packages in its pip section are",
                name,
                entry,
            )

    def requirements(self, name: str) -> None:
        self._lines(name, self.needed.lines, named_by="The model")

    def _lines(self, name: str, into: list[Line], named_by: str) -> None:
        if name in self._open:
            return
        if not self._inside(name).is_file():
            raise _refused(named_by, "refers to a file that does not exist in the model's folder")
        self._open.append(name)
        for number, line in _logical_lines(self._read(name)):
            self._read_line(line, name, f"line {number}", into)
        self._open.pop()

    def _read_line(self, line: str, file: str, place: str, into: list[Line]) -> None:
        """Reads a line of a requirements file that is called `file`; `place` is where in it."""
        where = f"{file} {place}"
        line = re.sub(r"(^|\s)#.*$", "", line).strip()
        if not line:
            return
        if _CONTROL.search(line):
            raise _refused(where, "has a control character, like a line break: remove it")
        line = self._expanded(line, where)
        if line.startswith("-"):
            self._option(line, file, place, into)
        else:
            into.append(self._requirement(line, file, place))

    def _expanded(self, line: str, where: str) -> str:
        for name in _VARIABLE.findall(line):
            if name not in self._variables:
                raise _refused(
                    where,
                    "uses an environment variable that requirements are not allowed to use: "
                    "write its value, or list the variable in REQUIREMENTS_ENV",
                )
            if name not in os.environ:
                raise _refused(where, "uses a variable that is not set: set it, or remove it")
        return _VARIABLE.sub(lambda match: os.environ[match[1]], line)

    def _option(self, line: str, file: str, place: str, into: list[Line]) -> None:
        where, (option, value) = f"{file} {place}", _split_option(line)
        if option in _INCLUDE or option in _CONSTRAIN:
            if "://" in value:
                raise _refused(where, f"includes a URL: write its contents into {file} itself")
            # As pip does: from the file that includes, not from the folder where it all began.
            included = (Path(file).parent / value).as_posix()
            lines = into if option in _INCLUDE else self.needed.constraints
            self._lines(included, lines, named_by=where)
        elif option in _INDEX:
            flag = _INDEX[option]
            self.needed.index_options.append(f"{flag}={self._place(value)}" if value else flag)
        elif option in _EDITABLE:
            into.append(self._requirement(value, file, place))
        elif option in _FORMATS:
            if not _PACKAGES.fullmatch(value):
                raise _refused(where, f"gives {option} a value that is not a list of package names")
            into.append(Line(f"{option} {value}", file, place=place))
        elif option == "--pre":
            self.needed.prereleases = True
        else:
            log.warning(
                "%s: the option is ignored; requirements.txt in a model can't set it", where
            )

    def _requirement(self, line: str, file: str, place: str) -> Line:
        where = f"{file} {place}"
        text, options = _split_requirement(line, where)
        hashes = " ".join(part for part in options if part.startswith("--hash"))
        try:
            parsed = Requirement(text)
        except InvalidRequirement:
            if not _is_place(text):
                raise _refused(
                    where, "is not a requirement: write it like `name==1.0` (PEP 508)"
                ) from None
            return self._unnamed(text, file, place, hashes)
        if parsed.url and "://" not in parsed.url:
            parsed.url = Path(self._place(parsed.url)).as_uri()
            text = str(parsed)
        return Line(text, file, parsed, hashes, place)

    def _unnamed(self, text: str, file: str, place: str, hashes: str) -> Line:
        """A wheel, source archive, folder or URL without `name @` before it."""
        text, semicolon, marker = text.partition(" ;")
        path, bar, extras = text.strip().partition("[")
        source = self._place(path)
        if "://" not in source:
            if not Path(source).exists():
                raise _refused(
                    f"{file} {place}", "names a file that the model's folder does not have"
                )
            source = Path(source).as_uri()
        name = _package_name(path)
        if name is None:
            return Line(f"{source}{semicolon}{marker}", file, None, hashes, place)
        named = f"{name}{bar}{extras} @ {source}{semicolon}{marker}"
        return Line(named, file, Requirement(named), hashes, place)

    def _place(self, text: str) -> str:
        """A relative path as an absolute one; anything else as it is."""
        if "://" in text or text.startswith("/"):
            return text
        return str((self._model / text.removeprefix("file:")).absolute())

    def _yaml(self, name: str) -> dict[str, Any]:
        try:
            content = yaml.safe_load(self._read(name))
        except yaml.YAMLError as error:
            raise _refused(name, f"is not YAML{_line_of(error)}") from None
        return content if isinstance(content, dict) else {}

    def _read(self, name: str) -> str:
        try:
            return self._inside(name).read_text(encoding="utf-8-sig")
        except OSError as error:
            raise _refused(name, f"can't be read: {error.strerror}") from None
        except UnicodeDecodeError:
            raise _refused(name, "can't be read: it is not UTF-8") from None

    def _inside(self, name: str) -> Path:
        """The file itself, through all links. Raises StartupError if it is not in the model."""
        folder = self._model.resolve()
        file = (folder / name).resolve()
        if not file.is_relative_to(folder):
            raise _refused("The model", "refers to a file outside its own folder: put it there")
        return file


def _logical_lines(text: str) -> Iterator[tuple[int, str]]:
    """Lines with the number of their first; a backslash at its end continues a line."""
    parts: list[str] = []
    for number, line in enumerate(text.splitlines(), start=1):
        continued = line.endswith("\\")
        parts.append(line.removesuffix("\\"))
        if not continued:
            yield number - len(parts) + 1, " ".join(parts)
            parts = []
    if parts:
        yield len(text.splitlines()) - len(parts) + 1, " ".join(parts)


def _line_of(error: yaml.YAMLError) -> str:
    mark = getattr(error, "problem_mark", None)
    return f": see line {mark.line + 1}" if mark else ""


def _split_option(line: str) -> tuple[str, str]:
    """`--index-url=X` and `--index-url X` and `-rX` as option and value."""
    if not line.startswith("--"):
        return line[:2], line[2:].lstrip(" =").strip("\"'")
    option, _, value = re.sub(r"[ =]", "\0", line, count=1).partition("\0")
    return option, value.strip().strip("\"'")


def _split_requirement(line: str, where: str) -> tuple[str, list[str]]:
    """A requirement and the options behind it (`--hash=…`, `--config-settings=…`)."""
    text, has_options, rest = line.partition(" --")
    try:
        options = shlex.split(f"--{rest}") if has_options else []
    except ValueError:
        raise _refused(where, "has options with a quote that is not closed") from None
    for option in options:
        if option.startswith("--hash") and not _HASH.fullmatch(option):
            raise _refused(where, "has an invalid hash: write it like --hash=sha256:2cf2…")
    return " ".join(text.split()), options


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


def _refused(where: str, problem: str) -> StartupError:
    return StartupError("DependencyInstallFailed", f"{where} {problem}")


def _text(value: Any) -> str | None:
    return None if value is None else str(value)
