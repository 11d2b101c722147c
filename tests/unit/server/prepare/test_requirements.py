"""Which packages the environment files name, and what the image has of them."""

from __future__ import annotations

import logging
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest
from packaging.requirements import Requirement

from mlflow_model_server.prepare import installed, requirements
from mlflow_model_server.runtime.termination import StartupError
from tests.unit.server.wheels import make_wheel

NEW_STYLE = {
    "flavors": {
        "python_function": {"env": {"conda": "conda.yaml", "virtualenv": "python_env.yaml"}}
    }
}
PYTHON_ENV = """\
python: 3.11.7
build_dependencies: [pip==23.2.1, setuptools==65.5.0, wheel]
dependencies: [-r requirements.txt]
"""
CONDA = """\
channels: [conda-forge]
dependencies:
- python=3.9.1
- pip<=21
- libgomp=12
- pip: [from-conda==1.0]
"""


def lines(model: Path, mlmodel: dict[str, Any] = NEW_STYLE) -> list[str]:
    return [str(line) for line in requirements.read(model, mlmodel).lines]


def one(text: str) -> requirements.Line:
    return requirements.Line(text, "requirements.txt", Requirement(text))


def write(model: Path, **files: str) -> None:
    for name, text in files.items():
        (model / name.replace("__", ".")).write_text(text)


def test_python_env_comes_first_with_what_it_refers_to(model: Path) -> None:
    write(model, python_env__yaml=PYTHON_ENV, requirements__txt="a==1\nb\n", conda__yaml=CONDA)
    needed = requirements.read(model, NEW_STYLE)
    assert [line.text for line in needed.lines] == ["a==1", "b"]
    assert needed.python == "3.11.7"


def test_without_python_env_requirements_txt_wins_over_conda(model: Path) -> None:
    write(model, requirements__txt="a==1\n", conda__yaml=CONDA)
    needed = requirements.read(model, NEW_STYLE)
    assert [line.text for line in needed.lines] == ["a==1"]
    assert needed.python == "3.9.1"


def test_conda_alone_gives_its_pip_section_and_warns_of_the_rest(
    model: Path, caplog: pytest.LogCaptureFixture
) -> None:
    write(model, conda__yaml=CONDA)
    assert lines(model) == ["from-conda==1.0"]
    warned = [r.getMessage() for r in caplog.records if r.levelno == logging.WARNING]
    assert len(warned) == 1 and "'libgomp=12'" in warned[0]


def test_the_mlmodel_file_may_name_the_files_otherwise(model: Path) -> None:
    write(model, my__yaml=CONDA)
    assert lines(model, {"flavors": {"python_function": {"env": "my.yaml"}}}) == ["from-conda==1.0"]


def test_a_model_without_environment_files_asks_for_nothing(model: Path) -> None:
    assert lines(model) == []


def test_comments_continuations_and_includes(model: Path) -> None:
    write(
        model,
        python_env__yaml="dependencies: [-r requirements.txt, inline>=2]",
        requirements__txt="# all\na==1 # why\n\nb==2 \\\n  ; python_version >= '3'\n-r more.txt\n",
        more__txt="c[x,y]==3\n-c constraints.txt\n-r requirements.txt\n",
        constraints__txt="d<4\n",
    )
    needed = requirements.read(model, NEW_STYLE)
    assert [line.text for line in needed.lines] == [
        "a==1",
        "b==2 ; python_version >= '3'",
        "c[x,y]==3",
        "inline>=2",
    ]
    assert [line.text for line in needed.constraints] == ["d<4"]


def test_index_options_are_kept_apart(model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TOKEN", "secret")
    write(
        model,
        requirements__txt="--index-url https://x:${TOKEN}@example.com/simple\n"
        "--extra-index-url=https://example.org/simple\n-f wheels\n--pre\n--no-binary :all:\na\n",
    )
    needed = requirements.read(model, NEW_STYLE, variables=["TOKEN"])
    assert needed.index_options == [
        "--index-url=https://x:secret@example.com/simple",
        "--extra-index-url=https://example.org/simple",
        f"--find-links={model / 'wheels'}",
    ]
    assert needed.prereleases
    assert [line.text for line in needed.lines] == ["--no-binary :all:", "a"]


def test_unknown_options_are_ignored_with_a_warning(
    model: Path, caplog: pytest.LogCaptureFixture
) -> None:
    write(model, requirements__txt="--use-feature=fast-deps\na\n")
    assert lines(model) == ["a"]
    assert "requirements.txt line 1: the option is ignored" in caplog.text


def test_wheels_in_the_model_are_named_and_absolute(model: Path) -> None:
    wheel = make_wheel(model / "wheels", "tinyone", "1.0")
    write(
        model,
        requirements__txt="wheels/tinyone-1.0-py3-none-any.whl\n"
        "./wheels/tinyone-1.0-py3-none-any.whl ; python_version > '3'\n"
        f"tinyone @ file://{wheel}\nhttps://example.com/tinytwo-2.0.tar.gz\n",
    )
    assert lines(model) == [
        f"tinyone @ {wheel.as_uri()}",
        f"tinyone @ {wheel.as_uri()} ; python_version > '3'",
        f"tinyone @ file://{wheel}",
        "tinytwo @ https://example.com/tinytwo-2.0.tar.gz",
    ]


def test_hashes_stay_with_their_line(model: Path) -> None:
    write(model, requirements__txt="a==1 \\\n  --hash=sha256:aa \\\n  --hash=sha256:bb\n")
    assert lines(model) == ["a==1 --hash=sha256:aa --hash=sha256:bb"]


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("a\nthis is nothing\n", "requirements.txt line 2 is not a requirement: write it like"),
        ("-r gone.txt\n", "requirements.txt line 1 refers to a file that does not exist in the"),
        ("./gone.whl\n", "requirements.txt line 1 names a file that the model's folder does not"),
        ("-r https://example.com/r.txt\n", "requirements.txt line 1 includes a URL: write what"),
        ("a \\\n ==1\nb ==\n", "requirements.txt line 3 is not a requirement"),
        ("a --hash='sha256:aa --index-url x'\n", "line 1 has a hash that is none"),
        ("a --hash='\n", "line 1 has options with a quote that is not closed"),
        ("--only-binary a --index-url=x\n", "line 1 gives --only-binary a value that is no list"),
    ],
)
def test_what_cannot_be_read_is_refused_by_name(model: Path, text: str, sentence: str) -> None:
    write(model, requirements__txt=text)
    with pytest.raises(StartupError, match=sentence) as failed:
        requirements.read(model, NEW_STYLE)
    assert failed.value.reason == "DependencyInstallFailed"


def test_a_broken_environment_file_is_refused_by_name(model: Path) -> None:
    write(model, python_env__yaml="dependencies: [")
    with pytest.raises(StartupError, match=r"python_env\.yaml is not YAML"):
        requirements.read(model, NEW_STYLE)


OURS = version("mlflow-skinny")


@pytest.mark.parametrize(
    ("asked", "becomes"),
    [
        ("mlflow", "mlflow-skinny"),
        (f"mlflow=={OURS}", f"mlflow-skinny=={OURS}"),
        ("MLflow==3.1.0", "mlflow-skinny==3.1.0"),
        ("mlflow[extras]>=3,<4", "mlflow-skinny[extras]<4,>=3"),
        ("mlflow-skinny==3.2", "mlflow-skinny==3.2"),
        ("mlflow>=2.9", "mlflow-skinny>=2.9"),
        ("mlflow==2.22.0", None),
        ("mlflow<3", None),
        ("mlflow<3,>=2", None),
        ("mlflow~=2.1", None),
        ("mlflow==2.*", None),
        ("mlflow-tracing==3.1.0", None),
        ("mlflow-extension==1", "mlflow-extension==1"),
    ],
)
def test_mlflow_is_provided_by_mlflow_skinny(asked: str, becomes: str | None) -> None:
    line = installed.with_skinny(one(asked))
    assert (line.text if line else None) == becomes


@pytest.mark.parametrize(
    ("asked", "is_there"),
    [
        ("packaging", True),
        (f"packaging=={version('packaging')}", True),
        ("packaging==1.0", False),
        ("nosuchpkg", False),
        ("nosuchpkg; python_version < '3'", True),
        ("uvicorn[standard]", False),  # its websockets are not in the test environment
        ("moto[s3]", True),
        ("packaging @ https://example.com/packaging-1.0.tar.gz", False),
    ],
)
def test_what_the_image_has(asked: str, is_there: bool) -> None:
    assert installed.has(one(asked)) is is_there


def test_constraints_concern_only_what_the_image_has() -> None:
    assert installed.allows(one("nosuchpkg<1"))
    assert installed.allows(one(f"packaging>={version('packaging')}"))
    assert not installed.allows(one("packaging<1"))
