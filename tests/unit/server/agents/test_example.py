"""The agent of examples/agent.py, without a cluster."""

from __future__ import annotations

from pathlib import Path

from tests.unit.server.agents.conftest import Start

EXAMPLE = Path(__file__).parents[4] / "examples" / "agent.py"


def test_it_answers_whole_and_as_a_stream(start: Start) -> None:
    client = start(EXAMPLE.read_text(), MODEL_URI="models:/assistant/1").client()
    assert [model.id for model in client.models.list()] == ["assistant"]
    text = "Hello to you"
    assert client.responses.create(model="assistant", input=text).output_text == text
    events = list(client.responses.create(model="assistant", input=text, stream=True))
    deltas = [event.delta for event in events if event.type == "response.output_text.delta"]
    assert deltas == ["Hello ", "to ", "you "]
    assert events[-1].type == "response.completed"
