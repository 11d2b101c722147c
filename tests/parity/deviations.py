"""Where our answers differ from MLflow's on purpose, and why. Nowhere else may they."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from tests.parity.asgi import Answer, Request
from tests.parity.compare import ERROR_FIELDS, differences, parsed


@dataclass(frozen=True)
class Deviation:
    """MLflow's answers that are a defect, and what is right instead.

    `example` is the name of a model and what to ask it: none is in the table without use.
    """

    name: str
    reason: str
    concerns: Callable[[Request, Answer], bool]  # with MLflow's answer
    is_right: Callable[[Answer, Answer], bool]  # MLflow's answer, then ours
    example: tuple[str, Request]


_FIELDS = {"error_code", "message", "error_class", "sqlstate"}


def _is_error(answer: Answer, *statuses: int) -> bool:
    """Whether it is one of our errors: JSON with a code and a sentence, and nothing more."""
    body = parsed(answer)
    return (
        answer.status in statuses
        and answer.headers.get("content-type") == "application/json"
        and isinstance(body, dict)
        and {"error_code", "message"} <= body.keys() <= _FIELDS
        and "Traceback" not in body["message"]
    )


def _is_same_without_trace(theirs: Answer, ours: Answer) -> bool:
    their_body, our_body = parsed(theirs), parsed(ours)
    return _is_error(ours, theirs.status) and all(
        our_body.get(name) == their_body.get(name) for name in ERROR_FIELDS
    )


def _has_trace(_request: Request, theirs: Answer) -> bool:
    body = parsed(theirs)
    return isinstance(body, dict) and "stack_trace" in body


def _cannot_encode(request: Request, theirs: Answer) -> bool:
    """json.dump failed on what the model returned: the request was read and predicted."""
    trace = theirs.raised.__traceback__ if theirs.raised else None
    while trace is not None:
        if trace.tb_frame.f_code.co_name in (
            "predictions_to_json",
            "unwrapped_predictions_to_json",
        ):
            return True
        trace = trace.tb_next
    return False


def _is_unread(request: Request, theirs: Answer) -> bool:
    return theirs.status == 500 and theirs.raised is not None and request.content_type is not None


def _is_head(request: Request, theirs: Answer) -> bool:
    return theirs.status == 405 and (request.method == "HEAD" or request.body.startswith(b"HEAD "))


def _is_encoded(request: Request, theirs: Answer) -> bool:
    return "content-encoding" in dict(request.headers) or b"\r\nContent-Encoding: " in request.body


def _has_absolute_target(request: Request, theirs: Answer) -> bool:
    return theirs.status == 404 and (
        request.path.startswith("http://") or request.body.startswith(b"POST http://")
    )


def _asks_for_a_stream(request: Request, theirs: Answer) -> bool:
    return b'"stream": true' in request.body and theirs.status == 200


def _streams_or_says_why_not(_theirs: Answer, ours: Answer) -> bool:
    if _is_error(ours, 400):
        return "can't stream" in parsed(ours)["message"]
    return ours.headers.get("content-type", "").startswith("text/event-stream")


def _has_text_as_input(request: Request, theirs: Answer) -> bool:
    return request.body.startswith(b'{"input": "') and theirs.status == 400


def _has_full_gpu(request: Request, theirs: Answer) -> bool:
    return _has_trace(request, theirs) and b"OutOfMemoryError" in theirs.body


DEVIATIONS = (
    # Before the next: MLflow's answer has a trace, too.
    Deviation(
        "a GPU's memory is full",
        "MLflow answers 400; RFC 9110, 15.6.4: the server can't handle the request now.",
        _has_full_gpu,
        lambda _theirs, ours: _is_error(ours, 503),
        (
            "fails",
            Request("", b'{"dataframe_split": {"columns": ["how"], "data": [["gpu memory"]]}}'),
        ),
    ),
    Deviation(
        "no stack trace",
        "A stack trace tells strangers about code and paths; it goes to the log.",
        _has_trace,
        _is_same_without_trace,
        ("fails", Request("", b'{"dataframe_split": {"columns": ["how"], "data": [["value"]]}}')),
    ),
    Deviation(
        "no content type is 415",
        "MLflow answers 500; RFC 9110, 15.5.16: the content type, or its lack, is the client's.",
        lambda request, theirs: request.content_type is None and theirs.status == 500,
        lambda _theirs, ours: ours.status == 415 and len(ours.body) > 0,
        ("linear", Request("", b'{"inputs": [1]}', None)),
    ),
    Deviation(
        "predictions that JSON cannot say",
        "MLflow's 500 is plain text; ours has an error's fields. It stays 500: the model's fault.",
        _cannot_encode,
        lambda _theirs, ours: _is_error(ours, 500),
        ("returns", Request("", b'{"dataframe_split": {"columns": ["what"], "data": [["set"]]}}')),
    ),
    Deviation(
        "bad input is never 500",
        "MLflow lets exceptions of its parsers escape: 500 wakes people for what a client did.",
        _is_unread,
        lambda _theirs, ours: _is_error(ours, 400, 413, 422),
        ("linear", Request("", b'{"inputs": ' + b"9" * 5000 + b"}")),
    ),
    Deviation(
        "HEAD wherever GET is",
        "MLflow answers 405; RFC 9110, 9.1: all general-purpose servers must have GET and HEAD.",
        _is_head,
        lambda _theirs, ours: ours.status == 200 and not ours.body,
        ("linear", Request("", b"", None, method="HEAD", path="/ping")),
    ),
    Deviation(
        "content encodings count",
        "MLflow reads the body as if it were not encoded; RFC 9110, 8.4: what it means is inside.",
        _is_encoded,
        lambda _theirs, ours: _is_error(ours, 400, 415),
        ("linear", Request("", b"{}", headers=(("content-encoding", "br"),))),
    ),
    Deviation(
        "absolute targets are paths",
        "MLflow answers 404; RFC 9112, 3.2.2: a server must accept a target with scheme and host.",
        _has_absolute_target,
        lambda _theirs, ours: ours.status == 200,
        (
            "clusters",
            Request(
                "",
                b'{"dataframe_split": {"columns": ["sepal length (cm)", "sepal width (cm)", '
                b'"petal length (cm)", "petal width (cm)"], "data": [[5.1, 3.5, 1.4, 0.2]]}}',
                path="http://x/invocations",
            ),
        ),
    ),
    Deviation(
        "a stream, or why there is none",
        "MLflow answers whole, of which a client that waits for events makes an empty stream.",
        _asks_for_a_stream,
        _streams_or_says_why_not,
        ("chat", Request("", b'{"messages": [{"role": "user", "content": "a"}], "stream": true}')),
    ),
    Deviation(
        "what MLflow's types for agents take",
        "MLflow's signature of a ResponsesAgent refuses what OpenAI's own client sends.",
        _has_text_as_input,
        lambda _theirs, ours: ours.status == 200,
        ("responses-agent", Request("", b'{"input": "Hi"}')),
    ),
    Deviation(
        "a timeout is JSON",
        "MLflow says application/json and sends a sentence.",
        lambda _request, theirs: theirs.status == 504,
        lambda _theirs, ours: _is_error(ours, 504),
        ("waits", Request("", b'{"dataframe_split": {"columns": ["x"], "data": [[1]]}}')),
    ),
)


def unexplained(request: Request, theirs: Answer, ours: Answer, relative: float) -> list[str]:
    """The differences that no deviation explains."""
    found = differences(theirs, ours, relative)
    for deviation in DEVIATIONS if found else ():
        if deviation.concerns(request, theirs):
            if deviation.is_right(theirs, ours):
                return []
            return [*found, f"not as the deviation {deviation.name!r} has it: {ours}"[:400]]
    return found
