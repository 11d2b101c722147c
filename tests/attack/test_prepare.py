"""What authors of models and packages may reach from the prepare step, where the credentials are.

Markers stand for them. None may get to a server of the attacker's, to a build, a log or a message;
and no package may come from where the administrator does not want it from.
"""

from __future__ import annotations

import dataclasses
import io
import json
import logging
import os
import re
import subprocess
import sys
import tarfile
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from mlflow_model_server.onnx import prepare as onnx_prepare
from mlflow_model_server.prepare import download, install
from mlflow_model_server.runtime.termination import StartupError
from mlflow_model_server.settings import Settings
from tests.unit.server.image import as_user_of_image
from tests.unit.server.process import ENTRYPOINT, environment_of_server
from tests.unit.server.wheels import make_wheel

SECRET = "registry-token-4711"
CREDENTIALS = ("MLFLOW_TRACKING_TOKEN", "AWS_SECRET_ACCESS_KEY", "GOOGLE_X", "AZURE_Y", "INDEX_URL")

# Writes down all that it can see, and makes a package of it.
SPY = """\
import os, pathlib, zipfile

def read(path):
    try:
        return pathlib.Path(path).read_bytes().decode("utf-8", "replace")
    except OSError as error:
        return f"{path}: {type(error).__name__}"

def parents():
    pid = os.getpid()
    while pid > 1:
        yield pid
        pid = int(read(f"/proc/{pid}/stat").rpartition(")")[2].split()[1])

def build_wheel(folder, config_settings=None, metadata_directory=None):
    here = pathlib.Path(__file__).parent
    report = [repr(dict(os.environ)), read("/dev/stdin")]
    for pid in parents():
        report += [read(f"/proc/{pid}/environ"), read(f"/proc/{pid}/cmdline")]
    name = "spy-1.0-py3-none-any.whl"
    with zipfile.ZipFile(pathlib.Path(folder) / name, "w") as wheel:
        wheel.writestr("spy.txt", "\\n".join(report))
        info = "spy-1.0.dist-info"
        wheel.writestr(f"{info}/METADATA", "Metadata-Version: 2.1\\nName: spy\\nVersion: 1.0\\n")
        tag = "Wheel-Version: 1.0\\nRoot-Is-Purelib: true\\nTag: py3-none-any\\n"
        wheel.writestr(f"{info}/WHEEL", tag)
        wheel.writestr(f"{info}/RECORD", "")
    return name
"""
PROJECT = """\
[build-system]
requires = []
build-backend = "backend"
backend-path = ["."]
[project]
name = "spy"
version = "1.0"
"""


@pytest.fixture(autouse=True)
def pod(monkeypatch: pytest.MonkeyPatch) -> None:
    """The environment of a pod that has credentials."""
    for name in CREDENTIALS:
        monkeypatch.setenv(name, SECRET)


def require(settings: Settings, *lines: str) -> None:
    (settings.artifact / "requirements.txt").write_text("".join(f"{line}\n" for line in lines))


def refusal(settings: Settings, caplog: pytest.LogCaptureFixture, *lines: str) -> str:
    """The message that refuses these requirements; fails if it or the log has the secret in it."""
    require(settings, *lines)
    with caplog.at_level(logging.DEBUG), pytest.raises(StartupError) as failed:
        install.install(settings, {})
    assert failed.value.reason == "DependencyInstallFailed"
    assert SECRET not in failed.value.message + caplog.text
    assert not settings.packages.exists()
    return failed.value.message


# Builds


@pytest.fixture
def spy(wheels: Path) -> None:
    """A source package whose build looks around."""
    with tarfile.open(wheels / "spy-1.0.tar.gz", "w:gz") as archive:
        for name, text in {
            "pyproject.toml": PROJECT,
            "backend.py": SPY,
            "PKG-INFO": "Metadata-Version: 2.1\nName: spy\nVersion: 1.0\n",
        }.items():
            entry = tarfile.TarInfo(f"spy-1.0/{name}")
            entry.size = len(text)
            archive.addfile(entry, io.BytesIO(text.encode()))


@pytest.mark.usefixtures("spy")
def test_nothing_is_built_unless_it_is_allowed(
    settings: Settings, caplog: pytest.LogCaptureFixture
) -> None:
    message = refusal(settings, caplog, "spy==1.0")
    assert message.endswith("Source packages are not built unless ALLOW_SOURCE_BUILDS is true")


@pytest.mark.parametrize(
    "line",
    ["./spy", "-e ./spy", "spy @ file:spy", "./spy-1.0.tar.gz", "spy @ git+https://x.example/s"],
)
def test_nothing_of_the_model_s_own_is_built_either(
    settings: Settings, caplog: pytest.LogCaptureFixture, line: str
) -> None:
    (settings.artifact / "spy").mkdir()
    (settings.artifact / "spy" / "pyproject.toml").write_text(PROJECT)
    (settings.artifact / "spy-1.0.tar.gz").touch()
    open_to_all = dataclasses.replace(settings, no_index=False, find_links=())
    message = refusal(open_to_all, caplog, line)
    assert message.startswith("requirements.txt line 1 names a ")
    assert "set ALLOW_SOURCE_BUILDS=true" in message


@pytest.mark.usefixtures("spy")
def test_a_build_sees_no_credentials(settings: Settings) -> None:
    """In a pod's process, as the image's user: root may read the memory of all processes."""
    require(settings, "spy==1.0")
    mlmodel = "flavors: {python_function: {loader_module: mlflow.sklearn}}"
    (settings.artifact / "MLmodel").write_text(mlmodel)
    for folder in (settings.model_dir, settings.artifact):
        folder.chmod(0o777)
    done = subprocess.run(
        [*as_user_of_image(), sys.executable, str(ENTRYPOINT), "prepare"],
        env={
            **environment_of_server(),
            "HOME": "/tmp",
            "MODEL_URI": str(settings.artifact.resolve()),
            "MODEL_DIR": str(settings.model_dir),
            "INDEX_URL": f"http://me:{SECRET}@127.0.0.1:9/simple",
            "FIND_LINKS": " ".join(settings.find_links),
            "ALLOW_SOURCE_BUILDS": "true",
            "NO_INDEX": "true",
            "PYTHONPYCACHEPREFIX": "",
            **dict.fromkeys(CREDENTIALS[:-1], SECRET),
        },
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    report = (settings.packages / "spy.txt").read_text()
    assert "UV_CACHE_DIR" in report and "--config-file" in report, "it saw its parents"
    if as_user_of_image():
        (own,) = re.findall(r"/proc/\d+/environ: PermissionError", report)[:1] or [""]
        assert own, "it tried"
    ours = report.split("/proc/")[0] if not as_user_of_image() else report
    assert SECRET not in ours


def test_the_conversion_sees_no_credentials(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    environments = []

    def run(*_: Any, env: dict[str, str], **__: Any) -> Any:
        environments.append(env)
        raise subprocess.TimeoutExpired("", 1)

    monkeypatch.setattr(subprocess, "run", run)
    mlmodel = {
        "flavors": {"python_function": {"loader_module": "mlflow.sklearn"}},
        "signature": {"inputs": "[]"},
        "saved_input_example_info": {"type": "dataframe"},
    }
    onnx_prepare.prepare_onnx(settings, mlmodel, lambda _names, _folder: None)
    (environment,) = environments
    assert SECRET not in repr(environment)
    assert environment["PATH"] == os.environ["PATH"]


# Sources of packages


@pytest.mark.parametrize(
    "administrator", [{"no_index": True}, {"index_url": "http://127.0.0.1:9/i"}]
)
@pytest.mark.parametrize(
    "line",
    [
        "acme @ https://evil.example/acme-9.9-py3-none-any.whl",
        "https://evil.example/acme-9.9-py3-none-any.whl",
        "acme @ https://evil.example/acme-9.9.tar.gz",
        "acme @ git+ssh://evil.example/acme",
        "-e git+https://evil.example/acme#egg=acme",
        "-c bounds.txt",
    ],
)
def test_where_an_index_is_named_no_url_is_asked(
    settings: Settings, caplog: pytest.LogCaptureFixture, administrator: dict[str, Any], line: str
) -> None:
    (settings.artifact / "bounds.txt").write_text(
        "acme @ https://evil.example/acme-9-py3-none-any.whl"
    )
    message = refusal(
        dataclasses.replace(settings, **{"no_index": False, **administrator}), caplog, line
    )
    assert "names a URL, and packages come from INDEX_URL or FIND_LINKS only" in message
    assert "evil" not in message


def test_urls_are_an_administrator_s_to_allow(settings: Settings, tmp_path: Path) -> None:
    wheel = make_wheel(tmp_path / "far", "tinyone", "1.0")
    with serving(respond_with_file(wheel)) as (address, requests):
        require(settings, f"tinyone @ {address}/{wheel.name}")
        with pytest.raises(StartupError, match="set ALLOW_DIRECT_URLS=true"):
            install.install(settings, {})
        assert not requests
        install.install(dataclasses.replace(settings, allow_direct_urls=True), {})
        assert (settings.packages / "tinyone.py").exists()


@pytest.mark.parametrize(
    "line",
    ["acme @ file:///etc/acme-1.0-py3-none-any.whl", "/etc/passwd.whl", "../a-1-py3-none-any.whl"],
)
def test_no_file_outside_the_model_is_installed(
    settings: Settings, caplog: pytest.LogCaptureFixture, line: str
) -> None:
    message = refusal(dataclasses.replace(settings, no_index=False), caplog, line)
    assert re.search("outside the model's folder|the model's folder does not have", message)


@pytest.mark.parametrize("place", ["/etc", "file:///etc", "../.."])
def test_no_folder_outside_the_model_is_searched(
    settings: Settings, caplog: pytest.LogCaptureFixture, place: str
) -> None:
    bare = dataclasses.replace(settings, no_index=False, find_links=())
    assert "outside the model's own" in refusal(bare, caplog, f"--find-links {place}", "nosuchpkg")


def test_tls_is_not_a_model_s_to_turn_off(
    settings: Settings, wheels: Path, caplog: pytest.LogCaptureFixture
) -> None:
    make_wheel(settings.artifact / "wheels", "tinyone", "1.0")
    require(settings, "--trusted-host evil.example", "--no-index", "-f wheels", "tinyone")
    bare = dataclasses.replace(settings, no_index=False, find_links=())
    install.install(bare, {})
    assert "requirements.txt line 1: the option is ignored" in caplog.text


def test_an_index_of_the_administrator_s_is_searched_first(settings: Settings) -> None:
    from mlflow_model_server.prepare.requirements import ModelRequirements
    from mlflow_model_server.prepare.uv import Uv

    named = dataclasses.replace(settings, no_index=False, index_url="https://me:pw@x.example/s")
    theirs = ModelRequirements(index_options=["--extra-index-url=https://evil.example/s"])
    configuration = Uv(named, theirs)._configuration()
    assert 'index-strategy = "first-index"' in configuration
    assert "evil" not in configuration


def test_hashes_may_be_required(settings: Settings, wheels: Path) -> None:
    import hashlib

    wheel = make_wheel(wheels, "tinyone", "1.0")
    strict = dataclasses.replace(settings, require_hashes=True)
    require(settings, "tinyone==1.0")
    with pytest.raises(StartupError, match="have no hash for tinyone: write"):
        install.install(strict, {})
    digest = hashlib.sha256(wheel.read_bytes()).hexdigest()
    require(settings, f"tinyone==1.0 --hash=sha256:{digest}")
    install.install(strict, {})
    assert (settings.packages / "tinyone.py").exists()


# Pickles


@pytest.mark.parametrize("line", ["mlflow==3.6.0", "mlflow-skinny<3.10"])
def test_no_model_brings_an_mlflow_that_loads_pickles_regardless(
    settings: Settings, wheels: Path, caplog: pytest.LogCaptureFixture, line: str
) -> None:
    make_wheel(wheels, "mlflow", "3.6.0", requires=["mlflow-skinny==3.6.0"])
    make_wheel(wheels, "mlflow_skinny", "3.6.0")
    require(settings, line)
    install.install(dataclasses.replace(settings, allow_pickle=False), {})
    assert not settings.packages.exists()
    assert "but the server requires mlflow" in caplog.text


def test_no_package_brings_one_either(
    settings: Settings, wheels: Path, caplog: pytest.LogCaptureFixture
) -> None:
    make_wheel(wheels, "mlflow_skinny", "3.6.0")
    make_wheel(wheels, "tinyone", "1.0", requires=["mlflow-skinny<3.10"])
    strict = dataclasses.replace(settings, allow_pickle=False)
    assert "mlflow-skinny>=3.17" in refusal(strict, caplog, "tinyone")


# Messages


@pytest.mark.parametrize(
    "line",
    [
        "acme @ http://127.0.0.1:9/${TOKEN}/acme-9.9-py3-none-any.whl",
        "acme @ http://me:${TOKEN}@127.0.0.1:9/acme-9.9-py3-none-any.whl",
        "--index-url http://127.0.0.1:9/${TOKEN}/simple\nnosuchpkg",
        "--index-url http://me:${TOKEN}@127.0.0.1:9/simple\nnosuchpkg",
        "--extra-index-url http://127.0.0.1:9/${TOKEN}/simple\n--no-index\nnosuchpkg",
    ],
)
def test_allowed_variables_are_not_repeated(
    settings: Settings, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch, line: str
) -> None:
    monkeypatch.setenv("TOKEN", SECRET)
    monkeypatch.setenv("UV_HTTP_RETRIES", "0")
    bare = dataclasses.replace(settings, no_index=False, find_links=(), requirements_env=("TOKEN",))
    refusal(bare, caplog, *line.split("\n"))


# Where the tracking server's token goes

Respond = Callable[[str], tuple[int, dict[str, str], bytes]]


def respond_with_file(path: Path) -> Respond:
    return lambda _path: (200, {}, path.read_bytes())


@contextmanager
def serving(respond: Respond) -> Iterator[tuple[str, list[tuple[str, str]]]]:
    """A server; its address, and the paths and credentials of its requests."""
    requests: list[tuple[str, str]] = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            requests.append((self.path, self.headers.get("Authorization", "")))
            status, headers, body = respond(self.path)
            self.send_response(status)
            for name, value in {**headers, "Content-Length": str(len(body))}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(body)

        do_POST = do_GET
        do_HEAD = do_GET

        def log_message(self, format: str, *args: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}", requests
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def answer(content: object) -> tuple[int, dict[str, str], bytes]:
    return 200, {"Content-Type": "application/json"}, json.dumps(content).encode()


def registry(artifact_uri: str) -> Respond:
    """A tracking server all of whose models are at `artifact_uri`."""
    run_info = {"run_id": "a" * 32, "artifact_uri": artifact_uri, "status": "FINISHED"}
    model_info = {
        "model_id": "m-1",
        "experiment_id": "0",
        "name": "x",
        "artifact_uri": artifact_uri,
    }

    def respond(path: str) -> tuple[int, dict[str, str], bytes]:
        if "get-download-uri" in path:
            return answer({"artifact_uri": artifact_uri})
        if "model-versions/get" in path or "registered-models/get" in path:
            return answer({"model_version": {"name": "wine", "version": "1"}})
        if "logged-models" in path:
            return answer({"model": {"info": {**model_info, "creation_timestamp_ms": 1}}})
        if "runs/get" in path:
            return answer({"run": {"info": run_info, "data": {}}})
        return 404, {}, b"{}"

    return respond


@pytest.fixture
def other() -> Iterator[tuple[str, list[tuple[str, str]]]]:
    """The attacker's server, which has whatever it is asked for."""
    with serving(lambda _path: answer({"files": [{"path": "MLmodel", "is_dir": False}]})) as both:
        yield both


def fetch(settings: Settings, uri: str) -> None:
    download.fetch(dataclasses.replace(settings, model_uri=uri), ())


@pytest.mark.parametrize("uri", ["models:/wine/1", "models:/m-1", f"runs:/{'a' * 32}/model"])
@pytest.mark.parametrize(
    "source",
    [
        "mlflow-artifacts://{host}/1/x",
        "mlflow-artifacts://me@{host}/1/x",
        "{address}/1/x",
        "{address}/api/2.0/mlflow-artifacts/artifacts/1/x",
    ],
)
def test_the_token_goes_to_no_other_server(
    settings: Settings,
    monkeypatch: pytest.MonkeyPatch,
    other: tuple[str, list[tuple[str, str]]],
    uri: str,
    source: str,
) -> None:
    address, requests = other
    source = source.format(address=address, host=address.removeprefix("http://"))
    with serving(registry(source)) as (tracking, asked):
        monkeypatch.setenv("MLFLOW_TRACKING_URI", tracking)
        with pytest.raises(StartupError, match="is not on the tracking server") as failed:
            fetch(settings, uri)
    assert failed.value.reason == "ArtifactUnreadable"
    assert [credentials for _, credentials in asked] == [f"Bearer {SECRET}"] * len(asked) != []
    assert not requests


def test_the_tracking_server_itself_may_be_named(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    mlmodel = b"flavors: {python_function: {loader_module: mlflow.sklearn}}\n"
    with ExitStack() as stack:

        def respond(path: str) -> tuple[int, dict[str, str], bytes]:
            host = tracking.removeprefix("http://")
            if "/mlflow-artifacts/artifacts?" in path:
                return answer({"files": [{"path": "MLmodel", "is_dir": False}]})
            if path.endswith("/MLmodel"):
                return 200, {}, mlmodel
            return registry(f"mlflow-artifacts://{host}/1/x")(path)

        tracking, _ = stack.enter_context(serving(respond))
        monkeypatch.setenv("MLFLOW_TRACKING_URI", tracking)
        fetch(settings, "models:/wine/1")
    assert (settings.artifact / "MLmodel").read_bytes() == mlmodel


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
def test_a_redirect_elsewhere_carries_no_token(
    settings: Settings,
    monkeypatch: pytest.MonkeyPatch,
    other: tuple[str, list[tuple[str, str]]],
    host: str,
) -> None:
    address, requests = other[0].replace("127.0.0.1", host), other[1]

    def respond(path: str) -> tuple[int, dict[str, str], bytes]:
        if "mlflow-artifacts" in path:
            return 302, {"Location": f"{address}{path}"}, b""
        return registry("mlflow-artifacts:/1/x")(path)

    with serving(respond) as (tracking, _):
        monkeypatch.setenv("MLFLOW_TRACKING_URI", tracking)
        with pytest.raises(StartupError):
            fetch(settings, "models:/wine/1")
    assert requests, "it was followed"
    assert {credentials for _, credentials in requests} == {""}
