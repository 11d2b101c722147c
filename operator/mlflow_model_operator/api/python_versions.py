"""Which scoring image's Python a model runs with. Pure."""

from __future__ import annotations

from collections.abc import Collection

from mlflow_model_operator.api.model_version import ModelVersion


def minor(version: str) -> str:
    """3.11, of 3.11.7."""
    return ".".join(version.split(".")[:2])


def nearest(version: str | None, available: Collection[str], default: str) -> str | None:
    """The Python version among those `available` for a model of this version: its own if possible.

    Without a version it is `default`, or else the first; None if there are none.
    """
    if version is None:
        return default if default in available else next(iter(available), None)
    own = minor(version)
    return min(available, key=lambda other: (_distance(own, other), other), default=None)


def can_run(model: ModelVersion, available: Collection[str]) -> bool:
    """Whether one of the Python versions `available` loads the model, as far as that is known."""
    if model.python_version is None or model.is_portable:
        return bool(available)
    return minor(model.python_version) in available


def denial(model: ModelVersion, available: Collection[str]) -> str:
    """Why no scoring image runs this model, and what to do about it."""
    if not available:
        return (
            "The operator has no scoring images: set the chart value image.registry, or name an "
            "image in spec.server.image"
        )
    logged = model.python_version or "unknown"
    return (
        f"{model.uri} was logged with Python {logged}, and no other Python loads its code; there "
        f"are scoring images for {', '.join(available)}: log it again with one of these, build one "
        f"for {minor(logged)} (chart value scoringImages), or set spec.server.image"
    )


def _distance(one: str, other: str) -> int:
    return abs(_number(one) - _number(other))


def _number(version: str) -> int:
    major, _, rest = version.partition(".")
    return int(major) * 1000 + int(rest or 0)
