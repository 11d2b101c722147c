"""A model's folder, and what its MLmodel file says of it, which nobody has to believe."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

_MAX_QUOTED = 100  # characters of a name that a message repeats


@dataclass(frozen=True)
class FormatUse:
    """A format, and the file or field of the MLmodel file that says so."""

    format: str
    where: str


class UnsafeModel(Exception):
    """What MLflow would read can't be established; the message says which file or field it is."""


class ModelFolder:
    """A model's folder and the two flavors that count: python_function, and what it loads."""

    def __init__(self, folder: Path, mlmodel: dict[str, Any]) -> None:
        self.root = folder.resolve()
        self.flavors = mapping(mlmodel.get("flavors"), "flavors")
        for name, flavor in self.flavors.items():
            mapping(flavor, f"flavors.{quoted(name)}")
        self.function = mapping(self.flavors.get("python_function"), "flavors.python_function")
        self.loader = text(self.function.get("loader_module"), "loader_module")
        package, _, self.name = self.loader.partition(".")
        if package != "mlflow":
            self.name = ""

    @property
    def flavor(self) -> dict[str, Any]:
        """What the MLmodel file says for the loader."""
        return mapping(self.flavors.get(self.name), f"flavors.{quoted(self.name)}")

    def file(self, name: Any, field: str) -> Path:
        """The file of that name, which is beside MLmodel itself.

        MLflow looks for the MLmodel file that counts beside some of the files that it reads.
        """
        path = self._beside(name, field)
        if path.is_symlink() or not path.is_file():
            raise UnsafeModel(f"{field} in MLmodel refers to no file next to it")
        return path

    def folder(self, name: Any, field: str) -> Path:
        """The folder of that name, which is beside MLmodel itself."""
        path = self._beside(name, field)
        if path.is_symlink() or not path.is_dir():
            raise UnsafeModel(f"{field} in MLmodel refers to no folder next to it")
        return path

    def shown(self, path: Path) -> str:
        """A path in a message."""
        return quoted(path.relative_to(self.root))

    def _beside(self, name: Any, field: str) -> Path:
        found = text(name, field)
        if found in (".", "..") or "/" in found or "\\" in found or "\0" in found:
            raise UnsafeModel(f"{field} in MLmodel is not the name of a file next to it")
        return self.root / found


def anything(where: str) -> Iterator[FormatUse]:
    """What is not known here may read pickles, or run code of its own."""
    yield FormatUse("code", where)
    yield FormatUse("pickle", where)


def mapping(value: Any, field: str) -> dict[str, Any]:
    """The value, if it is a mapping with text for keys. Raises UnsafeModel."""
    if not isinstance(value, dict) or not all(type(key) is str for key in value):
        raise UnsafeModel(f"{field} in MLmodel is not a mapping")
    return value


def text(value: Any, field: str) -> str:
    """The value, if it is text. Raises UnsafeModel."""
    if type(value) is not str or not value:
        raise UnsafeModel(f"{field} in MLmodel is not a string")
    return value


def quoted(value: object) -> str:
    """A name from the model, in a message: without control characters, and not too long."""
    line = "".join(char if char.isprintable() else "?" for char in str(value))
    return line if len(line) <= _MAX_QUOTED else f"{line[:_MAX_QUOTED]}…"
