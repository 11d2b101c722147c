"""Signatures that model-signing has made: accepted as they are, and not otherwise."""

from __future__ import annotations

import base64
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mlflow_model_server.prepare import init_container
from mlflow_model_server.prepare.signature import (
    NotSigned,
    Requirement,
    parse_requirements,
    verify,
)
from mlflow_model_server.runtime.termination import StartupError
from mlflow_model_server.settings import Settings, SettingsError

DATA = Path(__file__).parent / "signatures"


def pem(name: str) -> str:
    return (DATA / name).read_text()


BY_KEY = [Requirement(public_keys=[pem("p256.pub")])]
BY_AUTHORITY = [Requirement(certificate_authorities=[pem("root.crt")])]


def model(tmp_path: Path, name: str = "key-p256") -> Path:
    return Path(shutil.copytree(DATA / name, tmp_path / "model", symlinks=True))


@pytest.mark.parametrize(
    ("name", "requirements"),
    [
        ("key-p256", [Requirement(public_keys=[pem("p256.pub")])]),
        ("key-p384", [Requirement(public_keys=[pem("p384.pub")])]),
        ("key-p521", [Requirement(public_keys=[pem("p521.pub")])]),
        ("files-sha256", BY_KEY),
        ("files-blake2", BY_KEY),
        ("shards", BY_KEY),
        ("certificate", BY_AUTHORITY),
        # Any one of several will do.
        ("key-p384", [Requirement(public_keys=[pem("p256.pub"), pem("p384.pub")])]),
        ("certificate", [Requirement([pem("p256.pub")], [pem("other-root.crt"), pem("root.crt")])]),
        ("key-p256", [Requirement([pem("p256.pub")], [pem("root.crt")])]),
    ],
)
def test_what_model_signing_has_signed_is_accepted(
    name: str, requirements: list[Requirement]
) -> None:
    verify(DATA / name, requirements)


@pytest.mark.parametrize(
    ("name", "requirements"),
    [
        ("key-p256", [Requirement(public_keys=[pem("p384.pub")])]),
        ("key-p256", BY_AUTHORITY),
        ("certificate", BY_KEY),
        ("certificate", [Requirement(certificate_authorities=[pem("other-root.crt")])]),
        # The certificate is for key agreement.
        ("wrong-usage", BY_AUTHORITY),
        # Each requirement counts.
        ("key-p256", [*BY_KEY, Requirement(public_keys=[pem("p384.pub")])]),
        ("key-p256", [*BY_KEY, *BY_AUTHORITY]),
    ],
)
def test_a_signature_by_somebody_else_is_none(name: str, requirements: list[Requirement]) -> None:
    with pytest.raises(NotSigned, match="was not made by any of the"):
        verify(DATA / name, requirements)


def test_a_digest_that_is_not_here_is_named() -> None:
    with pytest.raises(NotSigned, match="blake3"):
        verify(DATA / "files-blake3", BY_KEY)


def test_what_mlflow_adds_is_not_signed(tmp_path: Path) -> None:
    folder = model(tmp_path)
    (folder / "registered_model_meta").write_text("model_name: wine\n")
    verify(folder, BY_KEY)


CHANGES: list[tuple[str, Callable[[Path], object], str]] = [
    ("no signature", lambda f: (f / "model.sig").unlink(), "there is no model.sig"),
    ("a changed file", lambda f: (f / "MLmodel").write_text("x" * 44), "MLmodel"),
    ("a longer file", lambda f: (f / "model.onnx").open("ab").write(b"x"), "model.onnx"),
    ("one byte", lambda f: _flip(f / "model.onnx", 2000), "model.onnx was changed"),
    ("a missing file", lambda f: (f / "model.onnx").unlink(), "model.onnx was signed, and is"),
    ("a file more", lambda f: (f / "code" / "evil.py").write_text("x"), "code/evil.py was not"),
    ("a hidden file", lambda f: (f / ".gitignore").write_text("x"), ".gitignore was not signed"),
    ("a hidden folder", lambda f: _make(f / ".git" / "x.py"), ".git/x.py was not signed"),
    ("a second signature", lambda f: _make(f / "code" / "model.sig"), "code/model.sig was not"),
    ("a link", lambda f: _link(f / "model.onnx"), "model.onnx is a symbolic link"),
    ("a linked folder", lambda f: (f / "more").symlink_to("/etc"), "more is a symbolic link"),
    ("a linked signature", lambda f: _link(f / "model.sig"), "there is no model.sig"),
    ("no JSON", lambda f: (f / "model.sig").write_text("{"), "not a signature of model-signing"),
    ("deep JSON", lambda f: (f / "model.sig").write_text("[" * 100_000), "not a signature"),
    ("a list", lambda f: (f / "model.sig").write_text("[]"), "not a signature"),
    (
        "another type",
        lambda f: _edit(f, lambda b: b["dsseEnvelope"].update(payloadType="x")),
        "'x'",
    ),
    ("no signer", lambda f: _edit(f, lambda b: b["dsseEnvelope"].update(signatures=[])), "not a"),
    ("a forged list", lambda f: _forge(f), "was not made by any of the 1 keys"),
]


@pytest.mark.parametrize("name", ["key-p256", "files-blake2", "shards"])
@pytest.mark.parametrize(("change", "says"), [c[1:] for c in CHANGES], ids=[c[0] for c in CHANGES])
def test_a_change_is_seen(
    tmp_path: Path, name: str, change: Callable[[Path], object], says: str
) -> None:
    folder = model(tmp_path, name)
    change(folder)
    with pytest.raises(NotSigned) as refusal:
        verify(folder, BY_KEY)
    assert says in str(refusal.value)
    assert "\n" not in str(refusal.value)


def _flip(file: Path, position: int) -> None:
    content = bytearray(file.read_bytes())
    content[position] ^= 1
    file.write_bytes(content)


def _make(file: Path) -> None:
    file.parent.mkdir(exist_ok=True)
    file.write_text("x")


def _link(file: Path) -> None:
    moved = file.parent.parent / "elsewhere"
    file.rename(moved)
    file.symlink_to(moved)


def _edit(folder: Path, change: Callable[[dict[str, Any]], object]) -> None:
    bundle = json.loads((folder / "model.sig").read_text())
    change(bundle)
    (folder / "model.sig").write_text(json.dumps(bundle))


def _forge(folder: Path) -> None:
    """Another list of files under the same signature."""

    def change(bundle: dict[str, Any]) -> None:
        statement = json.loads(base64.b64decode(bundle["dsseEnvelope"]["payload"]))
        statement["predicate"]["resources"].pop()
        payload = base64.b64encode(json.dumps(statement).encode()).decode()
        bundle["dsseEnvelope"]["payload"] = payload

    _edit(folder, change)


@settings(
    deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=200
)
@given(st.integers(0, 2559), st.integers(1, 255))
def test_no_change_of_a_shard_goes_unseen(tmp_path: Path, position: int, flip: int) -> None:
    folder = tmp_path / "model"
    if not folder.exists():
        model(tmp_path, "shards")
    content = bytearray((DATA / "shards" / "model.onnx").read_bytes())
    content[position] ^= flip
    (folder / "model.onnx").write_bytes(content)
    with pytest.raises(NotSigned):
        verify(folder, BY_KEY)


@settings(deadline=None, max_examples=300)
@given(st.binary(max_size=300) | st.text(max_size=300).map(str.encode))
def test_no_content_of_the_signature_is_an_error_of_ours(content: bytes) -> None:
    folder = Path("/tmp/signature-fuzz")
    folder.mkdir(exist_ok=True)
    (folder / "model.sig").write_bytes(content)
    with pytest.raises(NotSigned):
        verify(folder, BY_KEY)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{}",
        '"x"',
        "[1]",
        "[{}]",
        '[{"publicKeys": ["-----BEGIN PUBLIC KEY-----\\nMFkw\\n-----END PUBLIC KEY-----"]}]',
        '[{"certificateAuthorities": ["none"]}]',
    ],
)
def test_requirements_that_nobody_can_check_are_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"not a list of keys and certificates|requirement"):
        if not parse_requirements(text):
            raise ValueError("a requirement of nothing")


def test_requirements_are_those_of_the_operator() -> None:
    entry = {"publicKeys": [pem("p256.pub")], "certificateAuthorities": [pem("root.crt")]}
    (requirement,) = parse_requirements(json.dumps([entry]))
    assert requirement == Requirement((pem("p256.pub"),), (pem("root.crt"),))


def prepare(folder: Path, tmp_path: Path, required: str) -> None:
    (tmp_path / "volume").mkdir()
    init_container.prepare(
        Settings(
            model_uri=str(folder),
            model_dir=tmp_path / "volume",
            model_signatures=required,
            termination_log=tmp_path / "termination-log",
        )
    )


def test_a_model_without_the_signature_is_not_prepared(tmp_path: Path) -> None:
    folder = model(tmp_path)
    (folder / "MLmodel").write_text("flavors: {python_function: {loader_module: mlflow.onnx}}")
    required = json.dumps([{"publicKeys": [pem("p256.pub")]}])
    with pytest.raises(StartupError, match=r"^PolicyDenied: .* no signature that the policy acc"):
        prepare(folder, tmp_path, required)


def test_a_requirement_that_cannot_be_read_is_no_open_door(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=r"^MODEL_SIGNATURES is not a list of keys"):
        prepare(model(tmp_path), tmp_path, '[{"publicKeys": ["no key"]}]')
