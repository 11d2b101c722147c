"""The server's OpenAPI document: requests and responses, for clients and fuzzers. Pure."""

from __future__ import annotations

from typing import Any

from mlflow_model_server.codecs.tensors import DTYPES
from mlflow_model_server.model.agents import AgentKind

JSON = "application/json"


def document(
    model: str, version: str = "", secured: bool = False, agent: AgentKind | None = None
) -> dict[str, Any]:
    """OpenAPI 3.1 for the served model; `secured`: a key or token is required."""
    return {
        "openapi": "3.1.0",
        "info": {
            "title": f"{model} {version}".strip(),
            "version": version or "0",
            "description": "An MLflow model, by MLflow's, OpenAI's and the Open Inference Protocol",
        },
        "paths": {
            **_mlflow_paths(secured),
            **_server_paths(secured),
            **_model_paths(f"/v2/models/{model}", secured),
            **(_model_paths(f"/v2/models/{model}/versions/{version}", secured) if version else {}),
            **_openai_paths(model, secured),
            **_agent_paths(agent, secured),
        },
        "components": {
            "schemas": _SCHEMAS,
            "securitySchemes": {"bearer": {"type": "http", "scheme": "bearer"}},
        },
    }


def _mlflow_paths(secured: bool) -> dict[str, Any]:
    return {
        "/invocations": {
            "post": _prediction(
                "Predict",
                {
                    JSON: _ref("Invocation"),
                    "text/csv": {"schema": {"type": "string"}},
                    "application/vnd.apache.parquet": {
                        "schema": {"type": "string", "contentMediaType": "application/octet-stream"}
                    },
                },
                {JSON: _ref("Predictions")},
                "Error",
                secured,
            )
        },
        "/ping": {"get": _get("200 while the model can answer", {})},
        "/health": {"get": _get("The same as /ping", {})},
        "/version": {"get": _get("The version of MLflow", {})},
    }


def _server_paths(secured: bool) -> dict[str, Any]:
    return {
        "/v2": {"get": _get("The server", {JSON: _ref("Server")}, secured)},
        "/v2/health/live": {"get": _get("200 while the server runs", {JSON: _any()})},
        "/v2/health/ready": {"get": _get("200 while the model can answer", {JSON: _any()})},
        "/v2/repository/index": {"post": _repository_index(secured)},
    }


def _repository_index(secured: bool) -> dict[str, Any]:
    summary = "The models here, or those that are ready"
    responses = {
        "200": {"description": summary, "content": {JSON: _ref("RepositoryIndex")}},
        "400": _error("The body is not one of this request", "InferenceError"),
        **_unauthorized("InferenceError", secured),
    }
    # MLServer's client sends null for a field without a value.
    ready = {"type": ["boolean", "null"]}
    body = {"content": {JSON: {"schema": _object(ready=ready)}}}
    return {"summary": summary, "requestBody": body, "responses": responses} | _security(secured)


def _model_paths(path: str, secured: bool) -> dict[str, Any]:
    response = {JSON: _ref("InferenceResponse"), "application/octet-stream": {"schema": {}}}
    return {
        path: {"get": _get("The model's inputs and outputs", {JSON: _ref("Model")}, secured)},
        f"{path}/ready": {"get": _get("200 while the model can answer", {JSON: _any()}, secured)},
        f"{path}/infer": {
            "post": _prediction(
                "Predict", {JSON: _ref("InferenceRequest")}, response, "InferenceError", secured
            )
        },
    }


def _openai_paths(model: str, secured: bool) -> dict[str, Any]:
    return {
        "/v1/models": {"get": _get("The model, as OpenAI's clients list it", _ANY_JSON, secured)},
        f"/v1/models/{model}": {"get": _get("The model", _ANY_JSON, secured)},
    }


def _agent_paths(agent: AgentKind | None, secured: bool) -> dict[str, Any]:
    if agent is None:
        return {}
    is_chat = agent is not AgentKind.RESPONSES_AGENT
    paths = ("/v1/chat/completions",) if is_chat else ("/v1/responses", "/responses")
    body = {JSON: _ref("Completion" if is_chat else "ResponseRequest")}
    answers = {**_ANY_JSON, "text/event-stream": {"schema": _TEXT}}
    return {
        path: {"post": _prediction("Call the agent", body, answers, "OpenAIError", secured)}
        for path in paths
    }


def _get(summary: str, content: dict[str, Any], secured: bool = False) -> dict[str, Any]:
    responses: dict[str, Any] = {
        "200": {"description": summary, **({"content": content} if content else {})},
        "503": {"description": "The model can't answer"},
        **_unauthorized("Error", secured),
    }
    return {"summary": summary, "responses": responses} | _security(secured)


def _prediction(
    summary: str, body: dict[str, Any], response: dict[str, Any], error: str, secured: bool
) -> dict[str, Any]:
    errors = {
        "400": "The body is not a valid input of the model, or the model failed; see the message",
        "413": "The body is too large",
        "415": "The content type is not supported",
        "429": "Too many requests; Retry-After says when to send the next",
        "500": "The predictions can't be written, or the model crashed",
        "503": "The server is overloaded or shuts down; Retry-After says when to try again",
        "504": "The prediction took too long",
    }
    return {
        "summary": summary,
        "requestBody": {"required": True, "content": body},
        "responses": {
            "200": {"description": "The predictions", "content": response},
            **{code: _error(text, error) for code, text in errors.items()},
            **_unauthorized(error, secured),
        },
    } | _security(secured)


def _unauthorized(error: str, secured: bool) -> dict[str, Any]:
    return {"401": _error("No valid key or token", error)} if secured else {}


def _error(description: str, error: str) -> dict[str, Any]:
    return {"description": description, "content": {JSON: _ref(error)}}


def _security(secured: bool) -> dict[str, Any]:
    return {"security": [{"bearer": []}]} if secured else {}


def _ref(name: str) -> dict[str, Any]:
    return {"schema": {"$ref": f"#/components/schemas/{name}"}}


def _any() -> dict[str, Any]:
    return {"schema": {"type": "object"}}


def _object(required: tuple[str, ...] = (), **properties: Any) -> dict[str, Any]:
    schema: dict[str, Any] = {"type": "object", "properties": properties}
    return {**schema, "required": list(required)} if required else schema


def _list_of(items: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {"type": "array", "items": items, **more}


_TEXT = {"type": "string"}
_ANY_JSON = {JSON: _any()}
_SWITCH = {"type": "boolean"}
_ROWS = _list_of(_list_of({}))
_SHAPE = _list_of({"type": "integer", "minimum": 0}, minItems=1)
_TENSOR = {
    "name": _TEXT,
    "datatype": {"enum": list(DTYPES)},
    "shape": _SHAPE,
    "parameters": _object(),
    "data": {"type": "array"},
}
_FIELDS = _list_of(
    _object(
        ("name", "datatype", "shape"),
        name=_TEXT,
        datatype={"enum": list(DTYPES)},
        shape=_list_of({"type": "integer"}),
        parameters=_object(),
    )
)
_SCHEMAS: dict[str, Any] = {
    "Invocation": {
        "oneOf": [
            _object(
                ("dataframe_split",),
                dataframe_split=_object(
                    ("data",), columns={"type": "array"}, index={"type": "array"}, data=_ROWS
                ),
                params=_object(),
            ),
            _object(
                ("dataframe_records",), dataframe_records=_list_of(_object()), params=_object()
            ),
            _object(("instances",), instances={}, params=_object()),
            _object(("inputs",), inputs={}, params=_object()),
        ]
    },
    "Predictions": _object(("predictions",), predictions={}),
    "Error": _object(("error_code", "message"), error_code=_TEXT, message=_TEXT),
    "InferenceRequest": _object(
        ("inputs",),
        id=_TEXT,
        parameters=_object(),
        inputs=_list_of(_object(("name", "datatype", "shape", "data"), **_TENSOR), minItems=1),
        outputs=_list_of(_object(("name",), name=_TEXT, parameters=_object())),
    ),
    "InferenceResponse": _object(
        ("model_name", "outputs"),
        model_name=_TEXT,
        model_version=_TEXT,
        id=_TEXT,
        outputs=_list_of(_object(("name", "datatype", "shape"), **_TENSOR)),
    ),
    "Completion": _object(("messages",), messages=_list_of(_object()), model=_TEXT, stream=_SWITCH),
    "ResponseRequest": _object(
        ("input",),
        input={"oneOf": [_TEXT, _list_of(_object())]},
        instructions=_TEXT,
        model=_TEXT,
        stream=_SWITCH,
    ),
    "OpenAIError": _object(("error",), error=_object(("message",), message=_TEXT)),
    "InferenceError": _object(("error",), error=_TEXT),
    "RepositoryIndex": _list_of(
        _object(
            ("name", "version", "state", "reason"),
            name=_TEXT,
            version=_TEXT,
            state={"enum": ["READY", "UNAVAILABLE"]},
            reason=_TEXT,
        )
    ),
    "Server": _object(("name", "version"), name=_TEXT, version=_TEXT, extensions=_list_of(_TEXT)),
    "Model": _object(
        ("name", "platform", "inputs", "outputs"),
        name=_TEXT,
        versions=_list_of(_TEXT),
        platform=_TEXT,
        inputs=_FIELDS,
        outputs=_FIELDS,
    ),
}
