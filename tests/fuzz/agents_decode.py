"""Fuzzes how bodies for agents become MLflow's requests, guided by coverage.

`python -m tests.fuzz.agents_decode -max_total_time=120` (libFuzzer's options). It ends with a crash
and the input that caused it, if anything but a refusal of one short line is raised.
"""

from __future__ import annotations

import atheris

from tests.fuzz.corpus import fuzz

with atheris.instrument_imports(include=["mlflow_model_server"]):
    from mlflow_model_server.agents.inputs import FIELDS, request_of
    from mlflow_model_server.codecs.errors import TooLarge, Unreadable
    from mlflow_model_server.codecs.limits import Limits
    from mlflow_model_server.inference.agent_model import parse
    from mlflow_model_server.responses import Rejected

KINDS = tuple(FIELDS)
# Inputs that random bytes would take long to reach.
SEEDS = (
    b'{"messages":[{"role":"user","content":[{"type":"text","text":"hi"}]}],"temperature":1,'
    b'"stop":"x","max_completion_tokens":7,"stream":true}',
    b'{"messages":[{"role":"assistant","tool_calls":[{"id":"1","type":"function","function":'
    b'{"name":"f","arguments":"{}"}}]},{"role":"tool","tool_call_id":"1","content":"2"}]}',
    b'{"messages":[{"role":"user","content":"hi"}],"custom_inputs":{"a":1},"context":{}}',
    b'{"input":"hi","instructions":"be short","tools":[],"reasoning":{"effort":"low"}}',
    b'{"input":[{"type":"function_call_output","call_id":"1","output":"2"}],"temperature":0.5}',
    b'{"input":[],"previous_response_id":"1"}',
)


def decode(raw: bytes) -> None:
    """One input: a byte that chooses the kind of agent, then the body."""
    if not raw:
        return
    kind, body = KINDS[raw[0] % len(KINDS)], raw[1:]
    try:
        Limits().check_json(body)
        document = parse(body)
        Limits().check_document(document)
        assert isinstance(request_of(document, kind), dict)
    except (TooLarge, Unreadable):
        return
    except Rejected as refused:
        assert refused.error.status == 400
        assert len(refused.error.message) < 2000, refused.error.message


if __name__ == "__main__":
    fuzz(decode, SEEDS, len(KINDS))
