"""A private package index in the cluster: by HTTPS, behind a CA that nobody knows.

It has one package, and nothing of what the scoring image has already.
"""

from __future__ import annotations

import base64
import io
import zipfile
from datetime import UTC, datetime, timedelta

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from dev import kube
from dev.kube import KubeObject
from e2e.models import PACKAGE
from e2e.platform.pods import SCORING_IMAGE, server_pod, wait_until_ready

# What examples/dependencies.yaml says.
NAME, NAMESPACE, PORT = "pypi", "packages", 8443
CA_CONFIG_MAP = "company-ca"
DEPENDENCIES = {
    "indexUrl": f"https://{NAME}.{NAMESPACE}:{PORT}/simple",
    "caConfigMap": {"name": CA_CONFIG_MAP},
}
VERDICT = "dry, with a hint of pepper"
WHEEL = f"{PACKAGE}-1.0-py3-none-any.whl"
SERVE = """
import http.server, os, ssl
os.chdir("/index")
server = http.server.ThreadingHTTPServer(("0.0.0.0", %d), http.server.SimpleHTTPRequestHandler)
context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
context.load_cert_chain("/tls/tls.crt", "/tls/tls.key")
server.socket = context.wrap_socket(server.socket, server_side=True)
server.serve_forever()
"""


def bring_up_packages() -> str:
    """Starts the index; returns its CA's certificate (PEM)."""
    authority = _Authority()
    tls = {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {"name": "tls", "namespace": NAMESPACE},
        "stringData": authority.issue(f"{NAME}.{NAMESPACE}"),
    }
    wheels = {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": "wheels", "namespace": NAMESPACE},
        "binaryData": {WHEEL: base64.b64encode(_wheel()).decode()},
    }
    path = f"simple/{PACKAGE}/{WHEEL}"
    server = server_pod(
        NAME,
        NAMESPACE,
        SCORING_IMAGE,
        ["python", "-c", SERVE % PORT],
        PORT,
        volumes=[
            {"name": "tls", "secret": {"secretName": "tls"}},
            {
                "name": "index",
                "configMap": {"name": "wheels", "items": [{"key": WHEEL, "path": path}]},
            },
        ],
        mounts=[
            {"name": "tls", "mountPath": "/tls"},
            {"name": "index", "mountPath": "/index"},
        ],
    )
    # A server that is there already would go on with its old certificate.
    kube.delete(kube.DEPLOYMENT, NAME, NAMESPACE)
    kube.apply(kube.restricted_namespace(NAMESPACE), tls, wheels, *server)
    wait_until_ready(NAME, NAMESPACE)
    return authority.certificate_pem


def ca_config_map(authority: str) -> KubeObject:
    """What a namespace needs to trust the index."""
    return {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": CA_CONFIG_MAP},
        "data": {"ca.crt": authority},
    }


def _wheel() -> bytes:
    info = f"{PACKAGE}-1.0.dist-info"
    files = {
        f"{PACKAGE}.py": f"VERDICT = {VERDICT!r}\n",
        f"{info}/METADATA": f"Metadata-Version: 2.1\nName: {PACKAGE}\nVersion: 1.0\n",
        f"{info}/WHEEL": "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    record = f"{info}/RECORD"
    files[record] = "".join(f"{name},,\n" for name in (*files, record))
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return buffer.getvalue()


class _Authority:
    """A certificate authority for one session."""

    def __init__(self) -> None:
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "e2e")])
        constraints = x509.BasicConstraints(ca=True, path_length=0)
        usage = x509.KeyUsage(
            *(True, False, False, False, False, True, True, False, False),
        )
        self._certificate = (
            self._builder(self._name, self._key.public_key())
            .add_extension(constraints, critical=True)
            .add_extension(usage, critical=True)
            .sign(self._key, hashes.SHA256())
        )

    @property
    def certificate_pem(self) -> str:
        """What clients must trust."""
        return self._certificate.public_bytes(serialization.Encoding.PEM).decode()

    def issue(self, hostname: str) -> dict[str, str]:
        """Certificate and key of a server, as in a Secret of type kubernetes.io/tls."""
        key = ec.generate_private_key(ec.SECP256R1())
        name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, hostname)])
        names = x509.SubjectAlternativeName([x509.DNSName(hostname)])
        purpose = x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH])
        certificate = (
            self._builder(name, key.public_key())
            .add_extension(names, critical=False)
            .add_extension(purpose, critical=False)
            .sign(self._key, hashes.SHA256())
        )
        private = key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
        return {
            "tls.crt": certificate.public_bytes(serialization.Encoding.PEM).decode(),
            "tls.key": private.decode(),
        }

    def _builder(
        self, subject: x509.Name, key: ec.EllipticCurvePublicKey
    ) -> x509.CertificateBuilder:
        now = datetime.now(UTC)
        return (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(self._name)
            .public_key(key)
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - timedelta(hours=1))
            .not_valid_after(now + timedelta(days=2))
        )
