"""An agent that needs no language model: it says the last message back, word by word.

    MLFLOW_TRACKING_URI=https://… python examples/agent.py

logs it and registers it as `assistant`, whose alias `champion` examples/agent.yaml serves.
"""

from __future__ import annotations

from collections.abc import Iterator

import mlflow
from mlflow.models import set_model
from mlflow.pyfunc import ResponsesAgent
from mlflow.types.responses import (
    ResponsesAgentRequest,
    ResponsesAgentResponse,
    ResponsesAgentStreamEvent,
)

NAME = "assistant"
ITEM = "msg_1"  # the name of the one message in each response


class Echo(ResponsesAgent):  # type: ignore[misc]
    """Answers with what it is told."""

    def predict(self, request: ResponsesAgentRequest) -> ResponsesAgentResponse:
        """The whole answer: what the stream's events say of items that are done."""
        events = self.predict_stream(request)
        done = [event.item for event in events if event.type == "response.output_item.done"]
        return ResponsesAgentResponse(output=done)

    def predict_stream(self, request: ResponsesAgentRequest) -> Iterator[ResponsesAgentStreamEvent]:
        """An event for each word, and one for the message that they make."""
        words = text_of(request).split()
        for word in words:
            yield ResponsesAgentStreamEvent(**self.create_text_delta(f"{word} ", ITEM))
        message = self.create_text_output_item(" ".join(words), ITEM)
        yield ResponsesAgentStreamEvent(type="response.output_item.done", item=message)


def text_of(request: ResponsesAgentRequest) -> str:
    """The text of the last message."""
    content = request.input[-1].content
    return content if isinstance(content, str) else " ".join(part.text for part in content)


set_model(Echo())

if __name__ == "__main__":
    model = mlflow.pyfunc.log_model(
        name="agent", python_model=__file__, registered_model_name=NAME, pip_requirements=["mlflow"]
    )
    client = mlflow.MlflowClient()
    client.set_registered_model_alias(NAME, "champion", str(model.registered_model_version))
