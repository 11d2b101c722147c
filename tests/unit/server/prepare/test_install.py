"""Installing with the real uv, from folders of tiny wheels, with no network."""

from __future__ import annotations

import dataclasses
import subprocess
import sys
import threading
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from importlib.metadata import version
from pathlib import Path
from subprocess import PIPE

import pytest

from mlflow_model_server.prepare import install as installer
from mlflow_model_server.prepare import python_version, uv
from mlflow_model_server.prepare.requirements import ModelRequirements
from mlflow_model_server.runtime.termination import StartupError
from mlflow_model_server.settings import Settings
from tests.certificates import self_signed
from tests.unit.server.process import environment_of_server
from tests.unit.server.wheels import make_wheel


def install(settings: Settings, text: str, **files: str) -> list[str]:
    """Installs for a model with this requirements.txt; returns the names of what was installed."""
    (settings.artifact / "requirements.txt").write_text(text)
    for name, content in files.items():
        (settings.artifact / f"{name}.txt").write_text(content)
    installer.install(settings, {})
    return sorted(path.name for path in settings.packages.glob("*.dist-info"))


def failure(settings: Settings, text: str) -> str:
    with pytest.raises(StartupError) as failed:
        install(settings, text)
    assert failed.value.reason == "DependencyInstallFailed"
    return failed.value.message


@pytest.fixture
def no_uv(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse() -> str:
        raise AssertionError("uv was called")

    monkeypatch.setattr(uv, "_uv_binary", refuse)


@pytest.mark.usefixtures("no_uv")
def test_what_the_image_has_in_the_right_version_is_not_installed(settings: Settings) -> None:
    text = f"mlflow=={version('mlflow')}\nnumpy=={version('numpy')}\nscikit-learn\n"
    assert install(settings, text) == []
    assert not settings.packages.exists()


@pytest.mark.usefixtures("no_uv")
def test_older_mlflow_is_served_by_the_image_s_own(settings: Settings) -> None:
    assert install(settings, "mlflow==2.22.0\n") == []


@pytest.mark.usefixtures("no_uv")
def test_a_requirement_for_another_platform_is_not_installed(settings: Settings) -> None:
    assert install(settings, "nosuchpkg==1.0 ; sys_platform == 'win32'\n") == []


def test_only_what_is_missing_is_installed_with_what_it_needs(
    settings: Settings, wheels: Path
) -> None:
    make_wheel(wheels, "tinyone", "1.0", requires=["tinytwo>=1", "numpy"])
    make_wheel(wheels, "tinytwo", "2.0")
    assert install(settings, "numpy\ntinyone==1.0\n") == [
        "tinyone-1.0.dist-info",
        "tinytwo-2.0.dist-info",
    ]


def test_another_version_than_the_image_s_is_installed(settings: Settings, wheels: Path) -> None:
    make_wheel(wheels, "iniconfig", "99.0")
    assert install(settings, "iniconfig==99.0\n") == ["iniconfig-99.0.dist-info"]


def test_packages_are_compiled(
    settings: Settings, wheels: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("PYTHONPYCACHEPREFIX", raising=False)  # the tests' own
    make_wheel(wheels, "tinyone", "1.0")
    install(settings, "tinyone\n")
    assert list(settings.packages.glob("__pycache__/tinyone.*.pyc"))


def test_nothing_of_uv_stays_behind(settings: Settings, wheels: Path) -> None:
    make_wheel(wheels, "tinyone", "1.0")
    install(settings, "tinyone\n")
    left = sorted(path.name for path in settings.model_dir.iterdir())
    assert left == ["artifact", "packages"]


def test_a_constraint_is_kept(settings: Settings, wheels: Path) -> None:
    for number in ("1.0", "2.0"):
        make_wheel(wheels, "tinyone", number)
    installed = install(settings, "tinyone\n-c limits.txt\n", limits="tinyone<2\n")
    assert installed == ["tinyone-1.0.dist-info"]


def test_a_constraint_on_what_the_image_has_is_kept(settings: Settings, wheels: Path) -> None:
    make_wheel(wheels, "packaging", "25.9")
    installed = install(settings, "packaging\n-c limits.txt\n", limits="packaging<26\n")
    assert installed == ["packaging-25.9.dist-info"]


def test_a_wheel_in_the_model_s_folder_is_installed(settings: Settings) -> None:
    make_wheel(settings.artifact / "wheels", "tinyone", "1.0")
    installed = install(settings, "wheels/tinyone-1.0-py3-none-any.whl\n")
    assert installed == ["tinyone-1.0.dist-info"]


def test_packages_that_depend_on_mlflow_do_not_bring_it(settings: Settings, wheels: Path) -> None:
    make_wheel(wheels, "tinyone", "1.0", requires=["mlflow>=99"])
    assert install(settings, "tinyone\n") == ["tinyone-1.0.dist-info"]


def test_another_mlflow_is_installed_with_what_it_asks_for(
    settings: Settings, wheels: Path
) -> None:
    needs = ["mlflow-skinny==3.999.0", "mlflow-tracing==3.999.0", "iniconfig<1", "tinyone"]
    make_wheel(wheels, "mlflow", "3.999.0", requires=needs)
    make_wheel(wheels, "mlflow_skinny", "3.999.0")
    make_wheel(wheels, "mlflow_tracing", "3.999.0")
    make_wheel(wheels, "iniconfig", "0.9")  # the image's is newer
    make_wheel(wheels, "tinyone", "1.0", requires=["tinytwo"])
    make_wheel(wheels, "tinytwo", "1.0")
    assert install(settings, "mlflow==3.999.0\niniconfig\n") == [
        "iniconfig-0.9.dist-info",
        "mlflow-3.999.0.dist-info",
        "mlflow_skinny-3.999.0.dist-info",
        "tinyone-1.0.dist-info",
        "tinytwo-1.0.dist-info",
    ]


def test_skinny_alone_is_installed_alone(settings: Settings, wheels: Path) -> None:
    make_wheel(wheels, "mlflow_skinny", "3.999.0")
    text = "mlflow-skinny==3.999.0\n"
    assert install(settings, text) == ["mlflow_skinny-3.999.0.dist-info"]


def test_packages_too_old_for_the_server_stay_the_image_s(
    settings: Settings, wheels: Path, caplog: pytest.LogCaptureFixture
) -> None:
    make_wheel(wheels, "uvicorn", "0.20.0")
    make_wheel(wheels, "tinyone", "1.0", requires=["uvicorn"])
    assert install(settings, "uvicorn==0.20.0\ntinyone\n") == ["tinyone-1.0.dist-info"]
    assert "requires uvicorn==0.20.0, but the server requires uvicorn>=0.40" in caplog.text


def test_packages_that_need_too_old_ones_are_refused_with_the_server_s_bound(
    settings: Settings, wheels: Path
) -> None:
    make_wheel(wheels, "uvicorn", "0.20.0")
    make_wheel(wheels, "tinyone", "1.0", requires=["uvicorn<0.30"])
    message = failure(settings, "tinyone\n")
    assert "tinyone" in message and message.endswith("The server itself needs uvicorn>=0.40")


def test_what_the_server_itself_needs_must_fit(settings: Settings, wheels: Path) -> None:
    make_wheel(wheels, "pydantic", "1.10.0")
    message = failure(settings, "pydantic==1.10.0\n")
    assert "mlflow-skinny" in message and "pydantic==1.10.0" in message


def test_hashes_are_checked(settings: Settings, wheels: Path) -> None:
    make_wheel(wheels, "tinyone", "1.0")
    message = failure(settings, f"tinyone==1.0 --hash=sha256:{'0' * 64}\n")
    assert "hash" in message.lower()


def test_an_earlier_try_leaves_nothing(settings: Settings, wheels: Path) -> None:
    make_wheel(wheels, "tinyone", "1.0")
    make_wheel(wheels, "tinytwo", "1.0")
    install(settings, "tinyone\n")
    assert install(settings, "tinytwo\n") == ["tinytwo-1.0.dist-info"]


def test_a_package_that_no_index_has_is_named_with_its_file(settings: Settings) -> None:
    message = failure(settings, "numpy\nnosuchpkg==1.0\n")
    assert message.startswith("requirements.txt names nosuchpkg==1.0, which no index has: ")


def test_a_version_that_no_index_has_is_named(settings: Settings, wheels: Path) -> None:
    make_wheel(wheels, "tinyone", "1.0")
    message = failure(settings, "tinyone==2.0\n")
    assert message.startswith("requirements.txt names tinyone==2.0, which no index has: ")


def test_requirements_that_exclude_each_other_are_told(settings: Settings, wheels: Path) -> None:
    make_wheel(wheels, "tinyone", "1.0", requires=["tinytwo<2"])
    make_wheel(wheels, "tinytwo", "1.0")
    make_wheel(wheels, "tinytwo", "2.0")
    message = failure(settings, "tinyone==1.0\ntinytwo==2.0\n")
    assert "tinyone" in message and "tinytwo<2" in message


def test_an_index_that_cannot_be_reached_is_told_without_its_password(
    settings: Settings, unused_tcp_port: int
) -> None:
    index = f"http://me:secret@127.0.0.1:{unused_tcp_port}/simple"
    away = dataclasses.replace(settings, no_index=False, index_url=index, find_links=())
    message = failure(away, "nosuchpkg==1.0\n")
    assert f"127.0.0.1:{unused_tcp_port}" in message
    assert "secret" not in message


@pytest.fixture
def index(tmp_path: Path) -> Iterator[str]:
    """A package index with nothing but tinyone."""
    make_wheel(tmp_path / "index" / "simple" / "tinyone", "tinyone", "1.0", requires=["numpy"])
    handler = partial(_QuietHandler, directory=str(tmp_path / "index"))
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}/simple"
    server.shutdown()
    server.server_close()
    thread.join()


class _QuietHandler(SimpleHTTPRequestHandler):
    def log_message(self, format: str, *args: object) -> None:
        pass


def test_an_index_need_not_have_what_the_image_has(settings: Settings, index: str) -> None:
    private = dataclasses.replace(settings, no_index=False, index_url=index, find_links=())
    assert install(private, "scikit-learn\ntinyone\n") == ["tinyone-1.0.dist-info"]


def test_the_resource_s_index_wins_over_the_model_s(
    settings: Settings, wheels: Path, unused_tcp_port: int, caplog: pytest.LogCaptureFixture
) -> None:
    make_wheel(wheels, "tinyone", "1.0")
    text = f"--index-url http://127.0.0.1:{unused_tcp_port}/simple\ntinyone\n"
    with caplog.at_level("INFO"):
        assert install(settings, text) == ["tinyone-1.0.dist-info"]
    assert "the model's own index options are ignored" in caplog.text


def test_the_model_s_own_wheel_folder_is_used_where_nothing_else_is_said(
    settings: Settings,
) -> None:
    make_wheel(settings.artifact / "wheels", "tinyone", "1.0")
    bare = dataclasses.replace(settings, no_index=False, find_links=())
    text = "--no-index\n--find-links wheels\ntinyone\n"
    assert install(bare, text) == ["tinyone-1.0.dist-info"]


@pytest.mark.parametrize("option", ["--extra-index-url http://{}/simple", "-f http://{}/wheels"])
def test_a_further_index_out_of_reach_is_left_out_as_by_pip(
    settings: Settings,
    unused_tcp_port: int,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
    option: str,
) -> None:
    monkeypatch.setenv("UV_HTTP_RETRIES", "0")
    make_wheel(settings.artifact / "wheels", "tinyone", "1.0")
    bare = dataclasses.replace(settings, no_index=False, find_links=())
    address = f"me:secret@127.0.0.1:{unused_tcp_port}"
    index = f"--index-url {(settings.artifact / 'empty').as_uri()}"
    (settings.artifact / "empty").mkdir()
    text = f"{index}\n{option.format(address)}\n--find-links wheels\ntinyone\n"
    assert install(bare, text) == ["tinyone-1.0.dist-info"]
    assert "can't be reached, and is left out: http://***@127.0.0.1" in caplog.text
    assert "secret" not in caplog.text


def test_the_only_index_out_of_reach_is_told_with_the_way_out(
    settings: Settings, unused_tcp_port: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("UV_HTTP_RETRIES", "0")
    bare = dataclasses.replace(settings, no_index=False, find_links=())
    message = failure(bare, f"-i http://127.0.0.1:{unused_tcp_port}/simple\nnosuchpkg\n")
    assert f"127.0.0.1:{unused_tcp_port}" in message
    assert message.endswith("INDEX_URL may name an index that the pod can reach")


class _Denying(_QuietHandler):
    def do_GET(self) -> None:
        self.send_response(int(self.directory))
        self.send_header("Content-Length", "0")
        self.end_headers()


@pytest.fixture
def denying(request: pytest.FixtureRequest) -> Iterator[str]:
    """An index that answers every request with one status."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(_Denying, directory=request.param))
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://me:wrong-password@127.0.0.1:{server.server_port}/simple"
    server.shutdown()
    server.server_close()
    thread.join()


@pytest.mark.parametrize(
    ("denying", "says"),
    [("401", "401 Unauthorized"), ("403", "403 Forbidden")],
    indirect=["denying"],
)
def test_a_wrong_login_is_told_as_such(settings: Settings, denying: str, says: str) -> None:
    private = dataclasses.replace(settings, no_index=False, index_url=denying, find_links=())
    with pytest.raises(StartupError) as failed:
        install(private, "nosuchpkg==1.0\n")
    assert failed.value.reason == "PackageIndexUnauthorized"
    assert failed.value.message.endswith(f"answers {says}")
    assert "127.0.0.1" in failed.value.message
    assert "wrong-password" not in failed.value.message


@pytest.fixture
def untrusted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """The host and port of an index whose certificate signs itself."""
    monkeypatch.setenv("UV_HTTP_RETRIES", "0")
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(_Denying, directory="404"))
    context = self_signed(tmp_path / "server.pem")
    server.socket = context.wrap_socket(server.socket, server_side=True)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()
    thread.join()


def test_the_certificate_of_an_unknown_authority_is_told_as_such(
    settings: Settings, untrusted: str
) -> None:
    index = f"https://{untrusted}/simple"
    private = dataclasses.replace(settings, no_index=False, index_url=index, find_links=())
    with pytest.raises(StartupError) as failed:
        install(private, "nosuchpkg==1.0\n")
    assert failed.value.reason == "PackageIndexUntrusted"
    assert failed.value.message.startswith(f"The certificate of {untrusted} was not issued by")


def test_an_unknown_authority_is_told_as_such(settings: Settings) -> None:
    said = (
        "error: Failed to fetch: `https://pypi.example.com:8443/simple/nosuchpkg/`\n"
        "  cause: client error (Connect)\n  cause: invalid peer certificate: UnknownIssuer\n"
    )
    failure = uv.Uv(settings, ModelRequirements())._failure(said)
    assert failure.reason == "PackageIndexUntrusted"
    assert failure.message.startswith("The certificate of pypi.example.com:8443 was not issued by")


def test_a_repository_needs_git(
    settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "bin").mkdir()
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    allowed = dataclasses.replace(settings, no_index=False, find_links=(), allow_source_builds=True)
    message = failure(allowed, "numpy\nsix @ git+https://github.invalid/six@1.16.0\n")
    assert message.startswith(
        "requirements.txt line 2 names a git repository, and the image has no git: publish a wheel"
    )


def test_another_python_is_warned_of(settings: Settings, caplog: pytest.LogCaptureFixture) -> None:
    (settings.artifact / "python_env.yaml").write_text("python: 3.7.1\n")
    installer.install(settings, {}, python_version.warn)
    assert "logged with Python 3.7.1" in caplog.text


@pytest.mark.usefixtures("no_uv")
def test_nothing_is_installed_for_another_python(settings: Settings) -> None:
    (settings.artifact / "python_env.yaml").write_text("python: 3.7.1\ndependencies: [absent]\n")
    with pytest.raises(StartupError, match=r"logged with Python 3\.7\.1") as failed:
        installer.install(settings, {})
    assert failed.value.reason == "PythonVersionUnsupported"


def test_the_server_sees_the_model_s_packages_first(settings: Settings, wheels: Path) -> None:
    pth = {"tinyone.pth": "import sys; sys.pth_was_run = True\n"}
    make_wheel(wheels, "tinyone", "1.0", files=pth)
    make_wheel(wheels, "iniconfig", "99.0")
    install(settings, "tinyone\niniconfig==99.0\n")
    program = (
        "import sys\nfrom pathlib import Path\n"
        "from mlflow_model_server.runtime.site_packages import use_packages\n"
        f"use_packages(Path({str(settings.packages)!r}))\n"
        "import iniconfig, subprocess\n"
        "child = [sys.executable, '-c', 'import tinyone; print(tinyone.VERSION)']\n"
        "print(iniconfig.VERSION, sys.pth_was_run, subprocess.check_output(child, text=True))"
    )
    said = subprocess.run(
        [sys.executable, "-c", program], env=environment_of_server(), stdout=PIPE, check=True
    )
    assert said.stdout.decode().split() == ["99.0", "True", "1.0"]


def test_mlflow_itself_is_never_older_than_3(settings: Settings, wheels: Path) -> None:
    make_wheel(wheels, "mlflow_skinny", "2.22.0")
    make_wheel(wheels, "pydantic", "1.10.0")
    assert "pydantic==1.10.0" in failure(settings, "mlflow>=2\npydantic==1.10.0\n")


# Packages beside the model's, for the conversion to ONNX


def test_packages_beside_the_model_s_move_none_of_them(settings: Settings, wheels: Path) -> None:
    for number in ("1.0", "2.0"):
        make_wheel(wheels, "tinyone", number)
    make_wheel(wheels, "converter", "1.0", requires=["tinyone", "tinytwo", "numpy"])
    make_wheel(wheels, "converter", "2.0", requires=["tinyone>=2", "tinytwo", "numpy"])
    make_wheel(wheels, "tinytwo", "1.0")
    (settings.artifact / "requirements.txt").write_text("tinyone<2\n")
    needed = installer.install(settings, {})
    installer.install_beside(settings, needed, ["converter"], settings.onnx_packages)
    installed = sorted(path.name for path in settings.onnx_packages.glob("*.dist-info"))
    assert installed == ["converter-1.0.dist-info", "tinytwo-1.0.dist-info"]


def test_what_the_image_has_is_not_moved_either(settings: Settings, wheels: Path) -> None:
    make_wheel(wheels, "iniconfig", "99.0")
    make_wheel(wheels, "converter", "1.0", requires=["iniconfig>=99"])
    with pytest.raises(StartupError, match="iniconfig"):
        installer.install_beside(
            settings, ModelRequirements(), ["converter"], settings.onnx_packages
        )
    assert not settings.onnx_packages.exists()
