"""Verifies whose a model's files are: signatures of OpenSSF's model-signing, by key or certificate.

`model.sig` in the model's folder is a Sigstore bundle (https://docs.sigstore.dev/about/bundle/): a
signed list of all files with their digests. Only `cryptography` is needed. Signatures by Sigstore's
identities are not supported: verifying those needs connections, or Sigstore's root of trust.
"""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import load_pem_public_key
from cryptography.x509.oid import ExtendedKeyUsageOID
from cryptography.x509.verification import (
    ExtensionPolicy,
    PolicyBuilder,
    Store,
    VerificationError,
)

FILE = "model.sig"
# What MLflow adds to a registered model's files when it downloads them.
UNSIGNED = frozenset({FILE, "registered_model_meta"})
MAX_BYTES = 32 * 2**20  # of model.sig: a few hundred bytes for each file

_PAYLOAD_TYPE = "application/vnd.in-toto+json"
_PREDICATE_TYPE = "https://model_signing/signature/v1.0"
_HASHES: Mapping[str, hashes.HashAlgorithm] = {
    "secp256r1": hashes.SHA256(),
    "secp384r1": hashes.SHA384(),
    "secp521r1": hashes.SHA512(),
}
_DIGESTS = ("sha256", "blake2b")
_CHUNK_BYTES = 2**20
# What a file of any content raises while it is read.
_MALFORMED = (KeyError, IndexError, TypeError, AttributeError, ValueError, RecursionError)


class NotSigned(Exception):
    """The model has no signature that is required; the message says why, on one line."""


@dataclass(frozen=True)
class Requirement:
    """One signature is needed, by any of these."""

    public_keys: Sequence[str] = ()  # PEM
    certificate_authorities: Sequence[str] = ()  # PEM


@dataclass(frozen=True)
class _Bundle:
    payload: bytes
    signature: bytes
    certificates: Sequence[bytes]  # DER; the signer's first


@dataclass(frozen=True)
class _Part:
    """A file, or some bytes of one, and the digest that they must have."""

    path: str
    algorithm: str
    digest: bytes
    start: int = 0
    end: int | None = None


def parse_requirements(text: str) -> list[Requirement]:
    """From JSON: `[{"publicKeys": […], "certificateAuthorities": […]}, …]`. Raises ValueError."""
    try:
        found = [
            Requirement(
                tuple(entry.get("publicKeys", ())), tuple(entry.get("certificateAuthorities", ()))
            )
            for entry in json.loads(text)
        ]
        for requirement in found:
            if not requirement.public_keys and not requirement.certificate_authorities:
                raise ValueError("a requirement without keys and authorities")
            for pem in requirement.public_keys:
                _load_key(pem)
            for pem in requirement.certificate_authorities:
                x509.load_pem_x509_certificates(pem.encode())
    except _MALFORMED as error:
        raise ValueError(f"not a list of keys and certificates ({error})") from None
    return found


def verify(folder: Path, requirements: Sequence[Requirement]) -> None:
    """Raises NotSigned unless all files of `folder` are signed as each requirement demands."""
    bundle = _read(folder)
    for requirement in requirements:
        if not _is_signed(bundle, requirement):
            raise NotSigned(
                f"{FILE} was not made by any of the {len(requirement.public_keys)} keys "
                f"and {len(requirement.certificate_authorities)} authorities that are "
                "allowed to sign"
            )
    _check_files(folder, _parts(bundle.payload))


def _read(folder: Path) -> _Bundle:
    file = folder / FILE
    if file.is_symlink() or not file.is_file():
        raise NotSigned(f"there is no {FILE} next to its MLmodel file")
    if file.stat().st_size > MAX_BYTES:
        raise NotSigned(f"{FILE} is larger than {MAX_BYTES >> 20} MiB")
    try:
        bundle = json.loads(file.read_bytes())
        envelope = bundle["dsseEnvelope"]
        if envelope["payloadType"] != _PAYLOAD_TYPE:
            raise ValueError(f"the type of its content is {envelope['payloadType']!r}")
        (signature,) = envelope["signatures"]
        chain = bundle["verificationMaterial"].get("x509CertificateChain", {})
        return _Bundle(
            payload=_decoded(envelope["payload"]),
            signature=_decoded(signature["sig"]),
            certificates=[_decoded(entry["rawBytes"]) for entry in chain.get("certificates", ())],
        )
    except _MALFORMED as error:
        raise NotSigned(f"{FILE} is not a signature of model-signing ({error})") from None


def _decoded(text: str) -> bytes:
    return base64.b64decode(text, validate=True)


def _is_signed(bundle: _Bundle, requirement: Requirement) -> bool:
    keys = [_load_key(pem) for pem in requirement.public_keys]
    signer = _certified_key(bundle, requirement.certificate_authorities)
    return any(_is_signed_by(bundle, key) for key in [*keys, *filter(None, [signer])])


def _is_signed_by(bundle: _Bundle, key: ec.EllipticCurvePublicKey) -> bool:
    algorithm = _HASHES[key.curve.name]
    try:
        key.verify(bundle.signature, _authenticated(bundle.payload), ec.ECDSA(algorithm))
    except InvalidSignature:
        return False
    return True


def _authenticated(payload: bytes) -> bytes:
    """What is signed of an envelope: DSSE's pre-authentication encoding."""
    kind = _PAYLOAD_TYPE.encode()
    return b"DSSEv1 %d %b %d %b" % (len(kind), kind, len(payload), payload)


def _load_key(pem: str) -> ec.EllipticCurvePublicKey:
    key = load_pem_public_key(pem.encode())
    if not isinstance(key, ec.EllipticCurvePublicKey) or key.curve.name not in _HASHES:
        raise ValueError("a key of another kind than the elliptic curves P-256, P-384 and P-521")
    return key


def _certified_key(bundle: _Bundle, authorities: Sequence[str]) -> ec.EllipticCurvePublicKey | None:
    """The key of the certificate in the bundle, if one of the authorities has issued it.

    A signature does not say when it was made, so the certificate has to be valid at its own start.
    """
    if not authorities or not bundle.certificates:
        return None
    try:
        signer, *others = map(x509.load_der_x509_certificate, bundle.certificates)
        roots = [
            root for pem in authorities for root in x509.load_pem_x509_certificates(pem.encode())
        ]
        policy = PolicyBuilder().store(Store(roots)).time(signer.not_valid_before_utc)
        # A certificate for signatures is for no host, and so has none of what browsers want.
        policy = policy.extension_policies(
            ca_policy=ExtensionPolicy.webpki_defaults_ca(), ee_policy=ExtensionPolicy.permit_all()
        )
        policy.build_client_verifier().verify(signer, others)
        key = signer.public_key()
    except (ValueError, VerificationError, x509.ExtensionNotFound):
        return None
    is_usable = isinstance(key, ec.EllipticCurvePublicKey) and key.curve.name in _HASHES
    return key if is_usable and _is_for_signatures(signer) else None  # type: ignore[return-value]


def _is_for_signatures(certificate: x509.Certificate) -> bool:
    for extension in certificate.extensions:
        if isinstance(extension.value, x509.KeyUsage) and extension.value.digital_signature:
            return True
        is_extended = isinstance(extension.value, x509.ExtendedKeyUsage)
        if is_extended and ExtendedKeyUsageOID.CODE_SIGNING in extension.value:
            return True
    return False


def _parts(payload: bytes) -> list[_Part]:
    """What the signed statement says of the files."""
    try:
        statement = json.loads(payload)
        if statement["predicateType"] != _PREDICATE_TYPE:
            raise ValueError(f"a statement of the type {statement['predicateType']!r}")
        method = statement["predicate"]["serialization"]["method"]
        return [_part(entry, method) for entry in statement["predicate"]["resources"]]
    except _MALFORMED as error:
        raise NotSigned(f"{FILE} does not list files ({error})") from None


def _part(entry: Mapping[str, Any], method: str) -> _Part:
    algorithm, digest = entry["algorithm"], bytes.fromhex(entry["digest"])
    path, start, end = entry["name"], 0, None
    if method == "shards":
        path, first, last = path.rsplit(":", 2)
        start, end = int(first), int(last)
        algorithm = algorithm.partition("-sharded-")[0]
    elif method != "files":
        raise ValueError(f"the method {method!r}")
    pure = PurePosixPath(path)
    if (
        pure.is_absolute()
        or ".." in pure.parts
        or not 0 <= start <= (start if end is None else end)
    ):
        raise ValueError(f"the name {entry['name']!r}")
    if algorithm not in _DIGESTS:
        raise ValueError(f"the algorithm {algorithm!r}; supported are {', '.join(_DIGESTS)}")
    return _Part(str(pure), algorithm, digest, start, end)


def _check_files(folder: Path, parts: Sequence[_Part]) -> None:
    """Each file is there, whole and unchanged, and there is no other."""
    signed: dict[str, list[_Part]] = {}
    for part in parts:
        signed.setdefault(part.path, []).append(part)
    present = dict(_files(folder))
    for path in sorted(signed.keys() - present.keys()):
        raise NotSigned(f"{path} was signed, and is missing")
    is_sharded = any(part.end is not None for part in parts)
    for path in sorted(present.keys() - signed.keys()):
        # An empty file has no shards.
        if not (is_sharded and present[path].stat().st_size == 0):
            raise NotSigned(f"{path} was not signed")
    for path, of_file in signed.items():
        if not _covers(of_file, present[path].stat().st_size):
            raise NotSigned(f"{path} has another size than when it was signed")
        if any(_digest(present[path], part) != part.digest for part in of_file):
            raise NotSigned(f"{path} was changed after it was signed")


def _files(folder: Path) -> Iterator[tuple[str, Path]]:
    for path in folder.rglob("*"):
        name = path.relative_to(folder).as_posix()
        if path.is_symlink():
            raise NotSigned(f"{name} is a symbolic link")
        if not path.is_dir() and name not in UNSIGNED:
            yield name, path


def _covers(parts: Sequence[_Part], size: int) -> bool:
    """Whether the parts are the whole file, each byte once."""
    if any(part.end is None for part in parts):
        return len(parts) == 1
    ends = sorted((part.start, part.end or 0) for part in parts)
    starts = [0, *(end for _, end in ends)]
    return [start for start, _ in ends] == starts[:-1] and starts[-1] == size


def _digest(file: Path, part: _Part) -> bytes:
    digest = hashlib.new(part.algorithm)
    with file.open("rb") as content:
        content.seek(part.start)
        left = part.end - part.start if part.end is not None else None
        while left is None or left > 0:
            chunk = content.read(_CHUNK_BYTES if left is None else min(left, _CHUNK_BYTES))
            if not chunk:
                break
            digest.update(chunk)
            left = None if left is None else left - len(chunk)
    return digest.digest()
