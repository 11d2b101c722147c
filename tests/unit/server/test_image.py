"""The server as the image runs it: its entrypoint, its user, its variables, its working folder."""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path

import pytest

from mlflow_model_server.settings import Settings
from tests.unit.server import models
from tests.unit.server.image import DOCKERFILE, as_user_of_image, image, last, variables
from tests.unit.server.process import ENTRYPOINT, REPOSITORY, SECONDS_TO_START, wait_until

# Says what it finds as the user that it runs as, and works with processes of its own.
CURIOUS = """\
import getpass, multiprocessing, os
from concurrent.futures import ProcessPoolExecutor
from operator import neg
from mlflow.models import set_model
from mlflow.pyfunc import PythonModel


class Curious(PythonModel):
    def predict(self, context, model_input, params=None):
        return [str(self.answer(question)) for question in model_input["x"]]

    def answer(self, question):
        if question == "user":
            return getpass.getuser()
        if question == "uid":
            return os.getuid()
        if question == "home":
            home = os.path.expanduser("~")
            return f"{home} {os.access(home, os.W_OK)}"
        if question == "file":
            name = f"written-{os.getpid()}"
            open(name, "w").close()
            os.unlink(name)
            return "written"
        if question == "pool":
            with multiprocessing.Pool(2) as pool:
                return pool.map(neg, [1, 2])
        context = multiprocessing.get_context(question)
        with ProcessPoolExecutor(1, mp_context=context) as pool:
            return list(pool.map(neg, [1, 2]))


set_model(Curious())
"""


@pytest.fixture
def model(tmp_path: Path) -> Path:
    """Where a test saves its model: MLflow makes the folder."""
    return tmp_path / "source"


@pytest.mark.parametrize("workers", ["1", "2"])
def test_models_find_a_user_a_folder_and_processes(
    settings: Settings, model: Path, unused_tcp_port: int, workers: str
) -> None:
    models.save_from_code(model, CURIOUS)
    questions = ["user", "home", "file", "spawn", "forkserver", "pool", "uid"]
    with image(settings, unused_tcp_port, "serve", WORKERS=workers) as server:
        wait_until(server.answers, "the server answers", SECONDS_TO_START)
        answer = server.predict(
            {"dataframe_split": {"columns": ["x"], "data": [[each] for each in questions]}}
        )
        assert answer.ok, f"{answer.text}\n{server.output.read_text()}"
        *answers, uid = answer.json()["predictions"]
        assert answers == ["scoring", "/tmp True", "written", "[-1, -2]", "[-1, -2]", "[-1, -2]"]
        assert uid == (last("USER").partition(":")[0] if as_user_of_image() else str(os.getuid()))
        assert server.answers()
        assert "Traceback" not in server.output.read_text()


@pytest.mark.parametrize(
    "before", ["", "mine:x:65532:65532:of the base image:/home/mine:/bin/sh\n"]
)
def test_the_images_user_is_in_its_files(tmp_path: Path, before: str) -> None:
    """As pwd.getpwuid finds it: with the name and the home that the variables say."""
    root = "root:x:0:0:root:/root:/bin/bash\n"
    for name in ("passwd", "group"):
        (tmp_path / name).write_text(root + before)
    (step,) = re.findall(r"^RUN (grep .*/etc/passwd.*)$", DOCKERFILE, re.M)
    subprocess.run(["sh", "-c", step.replace("/etc/", f"{tmp_path}/")], check=True)
    uid, _, gid = last("USER").partition(":")
    entries = [line.split(":") for line in (tmp_path / "passwd").read_text().splitlines()]
    (user,) = [entry for entry in entries if entry[2] == uid]
    groups = [line.split(":") for line in (tmp_path / "group").read_text().splitlines()]
    assert len([group for group in groups if group[2] == gid]) == 1
    assert user[3] == gid
    if before:
        assert user[0] == "mine", "the base image's own stays"
    else:
        assert (user[0], user[5]) == (variables()["USER"], variables()["HOME"])


def test_the_entrypoint_is_the_file_that_the_image_gets() -> None:
    assert last("ENTRYPOINT") == f'["{ENTRYPOINT.name}"]'
    assert f"COPY images/{ENTRYPOINT.name} /opt/venv/bin/{ENTRYPOINT.name}" in DOCKERFILE
    assert os.access(ENTRYPOINT, os.X_OK)
    assert ENTRYPOINT.read_text().startswith("#!/opt/venv/bin/python\n")
    ignored = (REPOSITORY / ".dockerignore").read_text().splitlines()
    assert f"!images/{ENTRYPOINT.name}" in ignored
