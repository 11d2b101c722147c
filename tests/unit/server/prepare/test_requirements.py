"""Which packages the environment files name, and what the image has of them."""

from __future__ import annotations

import logging
import tomllib
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from mlflow_model_server.prepare import installed, requirements
from mlflow_model_server.runtime import server_packages
from mlflow_model_server.runtime.termination import StartupError
from mlflow_model_server.settings import Settings
from tests.unit.server.wheels import make_wheel

REPOSITORY = Path(__file__).parents[4]
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


def requirement(text: str) -> requirements.Line:
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
        (
            "-r https://example.com/r.txt\n",
            "requirements.txt line 1 includes a URL: write its contents",
        ),
        ("a \\\n ==1\nb ==\n", "requirements.txt line 3 is not a requirement"),
        ("a --hash='sha256:aa --index-url x'\n", "line 1 has an invalid hash"),
        ("a --hash='\n", "line 1 has options with a quote that is not closed"),
        (
            "--only-binary a --index-url=x\n",
            "line 1 gives --only-binary a value that is not a list",
        ),
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
    ("text", "stays"),
    [
        ("mlflow", True),
        (f"mlflow=={OURS}", True),
        ("MLflow==3.1.0", True),
        ("mlflow[extras]>=3,<4", True),
        ("mlflow-skinny==3.2", True),
        ("mlflow>=2.9", True),
        ("mlflow==2.22.0", False),
        ("mlflow<3", False),
        ("mlflow<3,>=2", False),
        ("mlflow~=2.1", False),
        ("mlflow==2.*", False),
        ("mlflow-tracing==3.1.0", False),
        ("mlflow-extension==1", True),
    ],
)
def test_mlflow_that_can_t_serve_is_left_to_the_image(text: str, stays: bool) -> None:
    line = requirement(text)
    assert installed.servable(line) == (line if stays else None)


@pytest.mark.parametrize(
    ("text", "stays"),
    [
        ("uvicorn", True),
        ("uvicorn>=0.20", True),
        ("uvicorn==0.40.0", True),
        ("uvicorn==0.20.0", False),
        ("UVicorn<0.40", False),
        ("uvicorn<=0.39,>=0.3", False),
        ("uvicorn==0.20.*", False),
        ("PyJWT==1.7.1", True),  # tokens are off
        ("numpy==1.0", True),
    ],
)
def test_packages_too_old_for_the_server_are_left_to_the_image(text: str, stays: bool) -> None:
    line = requirement(text)
    assert installed.runnable(line, server_packages.bounds(Settings())) == (line if stays else None)


def test_what_only_some_servers_run_with_is_bound_there_alone() -> None:
    assert "grpcio" not in server_packages.bounds(Settings())
    assert "grpcio" in server_packages.bounds(Settings(grpc_port=8081))
    assert "mlflow" not in server_packages.bounds(Settings())
    assert "mlflow" in server_packages.bounds(Settings(allow_pickle=False))
    assert "pyjwt" in server_packages.bounds(Settings(jwks_url="https://x.example"))


def test_the_server_s_bounds_are_those_of_its_package() -> None:
    project = tomllib.loads((REPOSITORY / "scoring/pyproject.toml").read_text())["project"]
    lines = [*project["dependencies"], *project["optional-dependencies"]["image"]]
    declared = {canonicalize_name(line.name): line.specifier for line in map(Requirement, lines)}
    everything = Settings(grpc_port=8081, jwks_url="https://x.example")
    for name, bound in server_packages.bounds(everything).items():
        assert declared[canonicalize_name(name)] == bound.specifier, name


@pytest.mark.parametrize(
    ("text", "is_there"),
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
def test_what_the_image_has(text: str, is_there: bool) -> None:
    assert installed.has(requirement(text)) is is_there


def test_constraints_concern_only_what_the_image_has() -> None:
    assert installed.allows(requirement("nosuchpkg<1"))
    assert installed.allows(requirement(f"packaging>={version('packaging')}"))
    assert not installed.allows(requirement("packaging<1"))
