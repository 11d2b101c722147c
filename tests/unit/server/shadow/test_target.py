"""The file that names a shadow."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlflow_model_server.shadow.target import (
    MAX_FILE_BYTES,
    InvalidTarget,
    Target,
    TargetFile,
    parse,
)

GOOD = {"revision": "wine-abc", "url": "http://wine-abc:8080", "percent": 20}
JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.floats() | st.integers() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner),
    max_leaves=5,
)


def text(**fields: Any) -> bytes:
    return json.dumps({**GOOD, **fields}).encode()


def test_all_fields_are_read() -> None:
    content = text(modelVersion="3", timeoutSeconds=2, maxBodyBytes=1000, examples=5, later={})
    assert parse(content) == Target("wine-abc", "3", "wine-abc", 8080, 20.0, 2.0, 1000, 5)


def test_fields_have_defaults() -> None:
    assert parse(text(url="http://wine/")) == Target(
        "wine-abc", "", "wine", 80, 20.0, 10.0, 2**20, 0
    )


@pytest.mark.parametrize("content", [b"", b" \n", b"{}"])
def test_nothing_means_no_shadow(content: bytes) -> None:
    assert parse(content) is None


@pytest.mark.parametrize(
    ("fields", "field"),
    [
        *(
            ({"url": url}, "url")
            for url in (
                *("https://wine", "http://", "wine:80", "http://user@wine", "http://u:p@wine"),
                *("http://wine/path", "http://wine?x=1", "http://wine#x", "http://wine:0"),
                *("http://wine:99999", "http://wine:x", "http://wi ne", "http://wine\r\nx: y"),
                *("http://wine.models", "http://wine.models.svc:80", "http://example.com"),
                *("http://169.254.169.254", "http://2852039166", "http://0xa9fea9fe"),
                *("http://[fd00:ec2::254]", "http://[::ffff:169.254.169.254]", "http://wine."),
                *("http://wíne", "", None, 3, ["http://wine"], "http://" + "a" * 300),
            )
        ),
        *(({"revision": value}, "revision") for value in ("", None, 3, "a b", "a\n", "a" * 254)),
        *(({"modelVersion": value}, "modelVersion") for value in (3, "a\n", "\ud800", "1" * 129)),
        *(({"percent": value}, "percent") for value in (0, -1, 100.1, "20", True, None)),
        *(({"timeoutSeconds": value}, "timeoutSeconds") for value in (0, 301, "1", True)),
        *(({"maxBodyBytes": value}, "maxBodyBytes") for value in (0, 1.5, 2**24, True)),
        *(({"examples": value}, "examples") for value in (-1, 21, 1.5, True)),
    ],
)
def test_wrong_fields_are_named(fields: dict[str, Any], field: str) -> None:
    with pytest.raises(InvalidTarget, match=f"^{field} is not "):
        parse(text(**fields))


@pytest.mark.parametrize(
    "content",
    [b"{", b"[]", b"1", b"\xff", b"[" * 50_000, b" " * (MAX_FILE_BYTES + 1), b'{"percent": NaN}'],
)
def test_other_content_is_invalid(content: bytes) -> None:
    with pytest.raises(InvalidTarget):
        parse(content)


@given(st.dictionaries(st.sampled_from([*GOOD, "modelVersion", "examples"]), JSON_VALUES))
def test_no_content_breaks_it(fields: dict[str, Any]) -> None:
    try:
        target = parse(text(**fields))
    except InvalidTarget:
        return
    assert target is not None and 0 < target.percent <= 100 and 0 < target.port < 65536


def test_a_passwords_url_is_not_repeated() -> None:
    with pytest.raises(InvalidTarget) as raised:
        parse(text(url="http://user:secret@wine"))
    assert "secret" not in str(raised.value)


def test_changes_of_the_file_are_noticed(tmp_path: Path) -> None:
    path = tmp_path / "shadow.json"
    file = TargetFile(path)
    assert file.changed() and file.read() is None
    assert not file.changed()
    path.write_bytes(text())
    assert file.changed() and file.read() is not None
    assert not file.changed()
    other = tmp_path / "other"
    other.write_bytes(text(percent=30))
    (tmp_path / "link").symlink_to(other)
    (tmp_path / "link").replace(path)
    assert file.changed()
    target = file.read()
    assert target is not None and target.percent == 30
    path.unlink()
    assert file.changed() and file.read() is None


def test_a_file_that_can_not_be_read_is_invalid(tmp_path: Path) -> None:
    with pytest.raises(InvalidTarget, match="it can't be read"):
        TargetFile(tmp_path).read()


def test_a_long_file_is_not_read_whole(tmp_path: Path) -> None:
    path = tmp_path / "shadow.json"
    with path.open("wb") as file:
        os.truncate(file.fileno(), 2**40)
    with pytest.raises(InvalidTarget, match="longer"):
        TargetFile(path).read()
