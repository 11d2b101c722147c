"""Makes signatures/ by model-signing 1.1.1 (with pyopenssl), for the tests of the verifier.

uv run --with model-signing==1.1.1 --with pyopenssl make_signatures.py
"""

from __future__ import annotations

import datetime
import shutil
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from model_signing import hashing, signing

DATA = Path(__file__).parent / "signatures"
START = datetime.datetime(2026, 1, 1, tzinfo=datetime.UTC)


def private(path: Path, curve: ec.EllipticCurve) -> ec.EllipticCurvePrivateKey:
    key = ec.generate_private_key(curve)
    path.write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
    )
    return key


def public(path: Path, key: ec.EllipticCurvePrivateKey) -> None:
    path.write_bytes(
        key.public_key().public_bytes(
            serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
        )
    )


def certificate(
    name: str,
    key: ec.EllipticCurvePrivateKey,
    issuer_name: str,
    issuer_key: ec.EllipticCurvePrivateKey,
    *,
    ca: bool,
    usage: bool = True,
) -> x509.Certificate:
    def named(text: str) -> x509.Name:
        return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)])

    builder = (
        x509.CertificateBuilder()
        .subject_name(named(name))
        .issuer_name(named(issuer_name))
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(START)
        .not_valid_after(START + datetime.timedelta(days=3650 if ca else 30))
        .add_extension(x509.BasicConstraints(ca=ca, path_length=None), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .add_extension(
            x509.AuthorityKeyIdentifier.from_issuer_public_key(issuer_key.public_key()),
            critical=False,
        )
        .add_extension(
            x509.KeyUsage(
                digital_signature=usage and not ca,
                content_commitment=False,
                key_encipherment=False,
                data_encipherment=False,
                key_agreement=not usage,
                key_cert_sign=ca,
                crl_sign=ca,
                encipher_only=False,
                decipher_only=False,
            ),
            critical=True,
        )
    )
    return builder.sign(issuer_key, hashes.SHA256())


def pem(path: Path, made: x509.Certificate) -> None:
    path.write_bytes(made.public_bytes(serialization.Encoding.PEM))


def model(folder: Path) -> Path:
    (folder / "code").mkdir(parents=True)
    (folder / "MLmodel").write_text("flavors:\n  onnx:\n    data: model.onnx\n")
    (folder / "model.onnx").write_bytes(bytes(range(256)) * 10)
    (folder / "code" / "__init__.py").write_text("")
    return folder


def main() -> None:
    shutil.rmtree(DATA, ignore_errors=True)
    DATA.mkdir()
    keys = Path("/tmp/model-signing-keys")
    shutil.rmtree(keys, ignore_errors=True)
    keys.mkdir()
    for name, curve in (
        ("p256", ec.SECP256R1()),
        ("p384", ec.SECP384R1()),
        ("p521", ec.SECP521R1()),
    ):
        key = private(keys / f"{name}.pem", curve)
        public(DATA / f"{name}.pub", key)
        folder = model(DATA / f"key-{name}")
        config = signing.Config().use_elliptic_key_signer(private_key=keys / f"{name}.pem")
        config.sign(folder, folder / "model.sig")
    for algorithm in ("sha256", "blake2", "blake3"):
        folder = model(DATA / f"files-{algorithm}")
        config = signing.Config().use_elliptic_key_signer(private_key=keys / "p256.pem")
        config.set_hashing_config(
            hashing.Config()
            .use_file_serialization(hashing_algorithm=algorithm)
            .set_ignored_paths(paths=["model.sig"])
        )
        config.sign(folder, folder / "model.sig")
    folder = model(DATA / "shards")
    config = signing.Config().use_elliptic_key_signer(private_key=keys / "p256.pem")
    config.set_hashing_config(
        hashing.Config()
        .use_shard_serialization(shard_size=1000)
        .set_ignored_paths(paths=["model.sig"])
    )
    config.sign(folder, folder / "model.sig")

    root_key = ec.generate_private_key(ec.SECP256R1())
    root = certificate("Root", root_key, "Root", root_key, ca=True)
    pem(DATA / "root.crt", root)
    other = ec.generate_private_key(ec.SECP256R1())
    pem(DATA / "other-root.crt", certificate("Other", other, "Other", other, ca=True))
    middle_key = ec.generate_private_key(ec.SECP256R1())
    middle = certificate("Middle", middle_key, "Root", root_key, ca=True)
    pem(keys / "middle.crt", middle)
    for name, usage in (("certificate", True), ("wrong-usage", False)):
        key = private(keys / f"{name}.pem", ec.SECP256R1())
        pem(
            keys / f"{name}.crt",
            certificate("Signer", key, "Middle", middle_key, ca=False, usage=usage),
        )
        folder = model(DATA / name)
        config = signing.Config().use_certificate_signer(
            private_key=keys / f"{name}.pem",
            signing_certificate=keys / f"{name}.crt",
            certificate_chain=[keys / "middle.crt"],
        )
        config.sign(folder, folder / "model.sig")


if __name__ == "__main__":
    main()
