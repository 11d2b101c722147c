"""Small agents of each of MLflow's kinds, which do what the last message says."""

from __future__ import annotations

from pathlib import Path

import mlflow.pyfunc

# The words that an agent answers with.
_WORDS = """
import os, tempfile, threading, time
from pathlib import Path

import mlflow
from mlflow.models import set_model

FOLDER = Path(os.environ.get("AGENT_FOLDER") or tempfile.mkdtemp())


def wait_for(name):
    deadline = time.monotonic() + 60
    while not (FOLDER / name).exists() and time.monotonic() < deadline:
        time.sleep(0.01)


def words(text):
    command, _, rest = text.partition(" ")
    if command == "refuse":
        raise RuntimeError("the secret reason")
    try:
        if command == "wait":
            yield "begun"
            wait_for(rest)
            yield "ended"
        elif command == "endless":
            while True:
                yield "again"
                time.sleep(0.005)
        elif command == "flood":
            for number in range(int(rest)):
                (FOLDER / "yielded").write_text(str(number))
                yield "x" * 10_000
        else:
            yield from text.split()
            if command == "fail":
                raise RuntimeError("the secret reason")
            if command == "exit":
                raise SystemExit("the secret reason")
    finally:
        (FOLDER / "closed").write_text(threading.current_thread().name)


def answer(text):
    if text.startswith("sleep"):
        time.sleep(float(text.split()[1]))
    return " ".join(words(text))
"""

CHAT_MODEL = f"""
{_WORDS}
from mlflow.pyfunc import ChatModel
from mlflow.types.llm import (
    ChatChoice, ChatChoiceDelta, ChatChunkChoice, ChatCompletionChunk, ChatCompletionResponse,
    ChatMessage,
)


class Echo(ChatModel):
    @mlflow.trace
    def predict(self, context, messages, params):
        message = ChatMessage(role="assistant", content=answer(messages[-1].content))
        return ChatCompletionResponse(choices=[ChatChoice(message=message)])

    def predict_stream(self, context, messages, params):
        for word in words(messages[-1].content):
            delta = ChatChoiceDelta(role="assistant", content=word + " ")
            yield ChatCompletionChunk(choices=[ChatChunkChoice(delta=delta)])


set_model(Echo())
"""

CHAT_AGENT = f"""
{_WORDS}
from mlflow.pyfunc import ChatAgent
from mlflow.types.agent import ChatAgentChunk, ChatAgentMessage, ChatAgentResponse

FUNCTION = {{"name": "look_up", "arguments": "{{}}"}}
CALL = {{"id": "call-1", "type": "function", "function": FUNCTION}}


class Echo(ChatAgent):
    def predict(self, messages, context=None, custom_inputs=None):
        text = messages[-1].content
        return ChatAgentResponse(messages=[
            *(chunk.delta for chunk in self.steps(text)),
            ChatAgentMessage(role="assistant", content=answer(text), id="m"),
        ])

    def predict_stream(self, messages, context=None, custom_inputs=None):
        text = messages[-1].content
        yield from self.steps(text)
        for word in words(text):
            yield ChatAgentChunk(
                delta=ChatAgentMessage(role="assistant", content=word + " ", id="m")
            )

    def steps(self, text):
        if not text.startswith(("look", "ask")):
            return
        call = ChatAgentMessage(role="assistant", content="", id="1", tool_calls=[CALL])
        yield ChatAgentChunk(delta=call)
        if text.startswith("look"):
            result = ChatAgentMessage(
                role="tool", content="seen", id="2", name="look_up", tool_call_id="call-1"
            )
            yield ChatAgentChunk(delta=result)


set_model(Echo())
"""

RESPONSES_AGENT = f"""
{_WORDS}
from mlflow.pyfunc import ResponsesAgent
from mlflow.types.responses import ResponsesAgentResponse, ResponsesAgentStreamEvent


def text_of(request):
    content = request.input[-1].content
    return content if isinstance(content, str) else content[-1].text


class Echo(ResponsesAgent):
    def predict(self, request):
        item = self.create_text_output_item(text=answer(text_of(request)), id="m")
        roles = [item.role for item in request.input]
        tools = [tool.name for tool in request.tools or ()]
        return ResponsesAgentResponse(
            output=[item], custom_outputs={{"roles": roles, "tools": tools}}
        )

    def predict_stream(self, request):
        said = []
        for word in words(text_of(request)):
            said.append(word + " ")
            yield self.create_text_delta(delta=said[-1], item_id="m")
        yield ResponsesAgentStreamEvent(
            type="response.output_item.done",
            item=self.create_text_output_item(text="".join(said), id="m"),
        )


set_model(Echo())
"""

# No stream: MLflow's own class has a predict_stream that only raises.
WHOLE = """
from mlflow.models import set_model
from mlflow.pyfunc import ChatModel
from mlflow.types.llm import ChatChoice, ChatCompletionResponse, ChatMessage


class Whole(ChatModel):
    def predict(self, context, messages, params):
        message = ChatMessage(role="assistant", content="all of it")
        return ChatCompletionResponse(choices=[ChatChoice(message=message)])


set_model(Whole())
"""

WHOLE_CHAT_AGENT = """
from mlflow.models import set_model
from mlflow.pyfunc import ChatAgent
from mlflow.types.agent import ChatAgentMessage, ChatAgentResponse


class Whole(ChatAgent):
    def predict(self, messages, context=None, custom_inputs=None):
        message = ChatAgentMessage(role="assistant", content="all of it", id="m")
        return ChatAgentResponse(messages=[message])


set_model(Whole())
"""

WHOLE_RESPONSES_AGENT = """
from mlflow.models import set_model
from mlflow.pyfunc import ResponsesAgent
from mlflow.types.responses import ResponsesAgentResponse


class Whole(ResponsesAgent):
    def predict(self, request):
        item = self.create_text_output_item(text="all of it", id="m")
        return ResponsesAgentResponse(output=[item])


set_model(Whole())
"""

WHOLE_PYFUNC = """
from mlflow.models import set_model
from mlflow.pyfunc import PythonModel


class Whole(PythonModel):
    def predict(self, context, model_input, params=None):
        return ["all of it"]


set_model(Whole())
"""

# Of none of the kinds.
PYFUNC = f"""
{_WORDS}
from mlflow.pyfunc import PythonModel


class Echo(PythonModel):
    def predict(self, context, model_input, params=None):
        return ["whole"]

    def predict_stream(self, context, model_input, params=None):
        yield from words(model_input["text"] if isinstance(model_input, dict) else "?")


set_model(Echo())
"""


def save(folder: Path, code: str, requirement: str = "mlflow") -> None:
    """Saves a model that is this code."""
    source = folder.parent / "agent.py"
    source.write_text(code)
    mlflow.pyfunc.save_model(folder, python_model=str(source), pip_requirements=[requirement])
