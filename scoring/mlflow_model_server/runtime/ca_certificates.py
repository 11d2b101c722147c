"""The certificate authorities that downloads and the model's own code trust."""

from __future__ import annotations

import os
from pathlib import Path

from mlflow_model_server.settings import Settings, SettingsError

# Each client looks elsewhere: OpenSSL and uv, requests, boto3, curl.
_VARIABLES = ("SSL_CERT_FILE", "REQUESTS_CA_BUNDLE", "AWS_CA_BUNDLE", "CURL_CA_BUNDLE")
_SYSTEM_BUNDLES = ("/etc/ssl/certs/ca-certificates.crt", "/etc/pki/tls/certs/ca-bundle.crt")


def add_ca_bundle(settings: Settings) -> None:
    """Writes CA_BUNDLE and the public authorities into one file, and has all clients use it.

    A company's own authority alone would shut out public storage and package indexes.
    """
    if settings.ca_bundle is None:
        return
    import certifi

    public = next((p for p in map(Path, _SYSTEM_BUNDLES) if p.is_file()), Path(certifi.where()))
    settings.model_dir.mkdir(parents=True, exist_ok=True)
    try:
        theirs = settings.ca_bundle.read_text()
    except OSError as error:
        raise SettingsError(
            f"CA_BUNDLE is {settings.ca_bundle}, which can't be read: "
            f"{error.strerror}. Check that the ConfigMap has that key"
        ) from error
    settings.trusted.write_text(f"{public.read_text()}\n{theirs}")
    use_trusted(settings)


def use_trusted(settings: Settings) -> None:
    """Has all clients in this process and its children trust what `add_ca_bundle` wrote."""
    if settings.trusted.is_file():
        os.environ.update(dict.fromkeys(_VARIABLES, str(settings.trusted)))
