"""Fetches the model and installs what it needs: what the init container does."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING, Any

from mlflow_model_server.onnx.prepare import prepare_onnx
from mlflow_model_server.prepare import formats, install, python_version
from mlflow_model_server.prepare.download import fetch, read_mlmodel
from mlflow_model_server.runtime import ca_certificates, pickle_switch
from mlflow_model_server.runtime.termination import StartupError, last_line, redact_urls
from mlflow_model_server.settings import Settings, SettingsError

if TYPE_CHECKING:
    from mlflow_model_server.prepare.signature import Requirement

log = logging.getLogger(__name__)


def prepare(settings: Settings, check_python: install.PythonCheck = python_version.check) -> None:
    """Leaves the model in `settings.artifact` and its packages in `settings.packages`.

    With `settings.onnx`, the result of its conversion in `settings.converted`.
    Raises StartupError with one of the reasons of a download, InvalidModel, PolicyDenied,
    PythonVersionUnsupported or DependencyInstallFailed, and SettingsError for required signatures
    that can't be read.
    """
    signatures = _required_signatures(settings)
    prepared = settings.model_dir / "prepared"
    if prepared.is_file() and prepared.read_text() == settings.model_uri:
        # The container was started again in its pod, and a model version never changes.
        log.info("%s is already prepared", redact_urls(settings.model_uri))
        ca_certificates.use_trusted(settings)
        # A volume's files may have changed, and what is required of them.
        _check_signature(settings, signatures)
        _check_formats(settings, read_mlmodel(settings))
        return
    started = time.monotonic()
    ca_certificates.add_ca_bundle(settings)
    with _failing_with("ArtifactUnreadable"):
        mlmodel = fetch(settings)
    fetched = time.monotonic()
    log.info("downloaded %s in %.1f s", redact_urls(settings.model_uri), fetched - started)
    _check_signature(settings, signatures)
    _check_formats(settings, mlmodel)
    with _failing_with("DependencyInstallFailed"):
        needed = install.install(settings, mlmodel, check_python)
    log.info("its packages are ready after %.1f s", time.monotonic() - fetched)
    # Before the conversion: if that has the container killed, the next one serves without.
    prepared.write_text(settings.model_uri)
    if settings.onnx:
        prepare_onnx(settings, mlmodel, partial(install.install_beside, settings, needed))


def _required_signatures(settings: Settings) -> list[Requirement]:
    if not settings.model_signatures:
        return []
    # Imported here: it loads a cryptographic library.
    from mlflow_model_server.prepare import signature

    try:
        return signature.parse_requirements(settings.model_signatures)
    except ValueError as error:
        raise SettingsError(
            f"MODEL_SIGNATURES is {error}: write a list of objects with publicKeys or "
            "certificateAuthorities, each a list of PEM"
        ) from None


def _check_signature(settings: Settings, required: list[Requirement]) -> None:
    if not required:
        return
    from mlflow_model_server.prepare import signature

    with _failing_with("PolicyDenied"):
        try:
            signature.verify(settings.artifact.resolve(), required)
        except signature.NotSigned as error:
            raise StartupError(
                "PolicyDenied", f"The model has no signature that the policy accepts: {error}"
            ) from None


def _check_formats(settings: Settings, mlmodel: dict[str, Any]) -> None:
    with _failing_with("PolicyDenied"):
        formats.check(settings, mlmodel)
        # For the conversion to ONNX, which loads the model.
        pickle_switch.apply(settings)


@contextmanager
def _failing_with(reason: str) -> Iterator[None]:
    """Makes errors that nobody foresaw a message for the operator, with this reason."""
    try:
        yield
    except StartupError:
        raise
    except Exception as error:
        log.exception("preparing the model failed")
        raise StartupError(reason, f"Preparing the model failed: {last_line(error)}") from error
