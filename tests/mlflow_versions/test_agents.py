"""Agents of each kind on older versions of MLflow 3, prepared and served by the shipped server.

MLflow 3.0.0 saves them all, which later versions load too; each requires the version that then
serves it. `make mlflow-matrix` (MLFLOW_MATRIX=full) has more of these.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import openai
import pytest
import requests

from benchmarks.environments import environment
from mlflow_model_server.settings import Settings
from tests.mlflow_versions.save_agents import AGENTS
from tests.mlflow_versions.test_matrix import (
    HERE,
    IMAGE_LOCK,
    SECONDS_TO_PREPARE,
    SECONDS_TO_SAVE,
    _pypi,
    author,
    trusted_here,
    writable_model_dir,
)
from tests.unit.server.image import image
from tests.unit.server.process import REPOSITORY, SECONDS_TO_START, Server, wait_until

__all__ = ["_pypi"]

OLDEST = "3.0.0"
REDUCED = (OLDEST, "3.10.0")
ALL = (OLDEST, "3.1.4", "3.4.0", "3.6.0", "3.8.1", "3.10.0", "3.12.0", "3.14.0")
VERSIONS = ALL if os.environ.get("MLFLOW_MATRIX") == "full" else REDUCED
SECONDS = 120
TEXT = "one two three"
CHATS = ("ChatModel", "ChatAgent")

Agents = dict[str, Server]


@pytest.fixture(scope="module", params=VERSIONS)
def version(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="module")
def agents(
    version: str,
    tmp_path_factory: pytest.TempPathFactory,
    unused_tcp_port_factory: Callable[[], int],
) -> Iterator[Agents]:
    """The servers by the kinds of their agents, side by side: each takes long to start."""
    folder = tmp_path_factory.mktemp("agents")
    save_all(folder, version)
    python = str(environment(IMAGE_LOCK) / "bin" / "python")
    with ExitStack() as stack:

        def start(command: str, settings: Settings) -> Server:
            variables = {"MODEL_URI": settings.model_uri, **trusted_here()}
            port = unused_tcp_port_factory()
            return stack.enter_context(image(settings, port, command, python, **variables))

        volumes = volumes_of(folder)
        first, *others = volumes.values()
        stack.callback(shutil.rmtree, first.model_dir, ignore_errors=True)
        prepare = start("prepare", first)
        ended = prepare.process.wait(SECONDS_TO_PREPARE)
        assert ended == 0, prepare.output.read_text()[-3000:]
        for settings in others:
            share_packages(first, settings)
        servers = {kind: start("serve", settings) for kind, settings in volumes.items()}
        for server in servers.values():
            wait_until(server.answers, "the server answers", 2 * SECONDS_TO_START)
        yield servers


def volumes_of(folder: Path) -> dict[str, Settings]:
    """A volume for each of the saved models, with the model's place, by their kinds."""
    volumes = {}
    for kind in AGENTS:
        own = folder / f"of-{kind}"
        own.mkdir()
        model_dir = writable_model_dir(own)
        log = own / "termination-log"
        volumes[kind] = Settings(
            model_dir=model_dir, model_uri=str(folder / kind), termination_log=log
        )
    return volumes


def share_packages(prepared: Settings, settings: Settings) -> None:
    """Makes of a volume what `prepare` would: the models require the same packages."""
    for place in prepared.model_dir.iterdir():
        if place != prepared.artifact:
            (settings.model_dir / place.name).symlink_to(place)
    settings.artifact.symlink_to(settings.model_uri)


def save_all(folder: Path, version: str) -> None:
    saved = subprocess.run(
        [author(OLDEST), str(HERE / "save_agents.py"), str(folder), version],
        env={**os.environ, "PYTHONPATH": str(REPOSITORY)},
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=SECONDS_TO_SAVE,
    )
    assert saved.returncode == 0, saved.stderr[-3000:]


def body_for(kind: str, **more: Any) -> dict[str, Any]:
    name = "messages" if kind in CHATS else "input"
    return {name: [{"role": "user", "content": TEXT}], **more}


def client(server: Server) -> openai.OpenAI:
    return openai.OpenAI(base_url=server.url("/v1"), api_key="none", max_retries=0)


def test_the_version_serves_that_the_model_requires(agents: Agents, version: str) -> None:
    for server in agents.values():
        assert requests.get(server.url("/version"), timeout=SECONDS).text == version


@pytest.mark.parametrize("kind", AGENTS)
def test_agents_respond_to_invocations(agents: Agents, kind: str) -> None:
    response = agents[kind].predict(body_for(kind), timeout=SECONDS)
    assert response.ok, response.text
    assert text_of(kind, response.json()) == TEXT


def text_of(kind: str, response: dict[str, Any]) -> str:
    """The text in a response of MLflow's protocol."""
    if kind == "ChatModel":
        return str(response["choices"][0]["message"]["content"])
    if kind == "ChatAgent":
        return str(response["messages"][-1]["content"])
    return str(response["output"][-1]["content"][0]["text"])


@pytest.mark.parametrize("kind", AGENTS)
def test_agents_stream_from_invocations(agents: Agents, kind: str) -> None:
    body = body_for(kind, stream=True)
    response = agents[kind].predict(body, timeout=SECONDS)
    assert response.ok, response.text
    assert response.headers["content-type"].startswith("text/event-stream")
    *events, done = [line[6:] for line in response.text.splitlines() if line.startswith("data: ")]
    assert done == "[DONE]"
    assert "".join(delta_of(kind, json.loads(event)) for event in events) == f"{TEXT} "


def delta_of(kind: str, event: dict[str, Any]) -> str:
    if kind == "ChatModel":
        return str(event["choices"][0]["delta"]["content"])
    if kind == "ChatAgent":
        return str(event["delta"]["content"])
    return str(event["delta"]) if event["type"] == "response.output_text.delta" else ""


@pytest.mark.parametrize("kind", CHATS)
def test_chats_are_completed_for_openai_clients(agents: Agents, kind: str) -> None:
    completions = client(agents[kind]).chat.completions
    messages: Any = [{"role": "user", "content": TEXT}]
    completion = completions.create(model="any", messages=messages, temperature=0, stop="!")
    assert completion.choices[0].message.content == TEXT
    chunks = completions.create(model="any", messages=messages, stream=True)
    texts = [choice.delta.content or "" for chunk in chunks for choice in chunk.choices]
    assert "".join(texts) == f"{TEXT} "


def test_responses_are_created_for_openai_clients(agents: Agents) -> None:
    responses = client(agents["ResponsesAgent"]).responses
    response = responses.create(model="any", input=TEXT, instructions="Repeat.")
    assert response.output_text == TEXT
    with responses.stream(model="any", input=TEXT) as events:
        deltas = [each.delta for each in events if each.type == "response.output_text.delta"]
        assert events.get_final_response().output_text == f"{TEXT} "
    assert "".join(deltas) == f"{TEXT} "


def test_responses_are_sent_as_by_the_agent_server(agents: Agents) -> None:
    url = agents["ResponsesAgent"].url("/responses")
    whole = requests.post(url, json=body_for("ResponsesAgent"), timeout=SECONDS)
    assert text_of("ResponsesAgent", whole.json()) == TEXT, whole.text
    body = body_for("ResponsesAgent", stream=True)
    streamed = requests.post(url, json=body, timeout=SECONDS)
    assert streamed.ok and streamed.text.endswith("data: [DONE]\n\n")


@pytest.mark.parametrize("kind", AGENTS)
def test_invalid_requests_are_refused(agents: Agents, kind: str) -> None:
    path = "/v1/chat/completions" if kind in CHATS else "/v1/responses"
    body = {"messages": [{"role": "user"}]} if kind in CHATS else {"input": 1}
    response = requests.post(agents[kind].url(path), json=body, timeout=SECONDS)
    assert response.status_code == 400, response.text
