"""uvicorn's HTTP, with a short cut: what is predicted at once needs no task, and one write.

A request for predictions whose head and body have come in one read is handed to the application
as it is, and its answer is written as soon as it is there. That saves the task, the messages and
the two writes of ASGI: about a third of what a small model's request costs. Every other request
goes through ASGI, as does whatever the short cut can't answer.

It builds on how uvicorn's protocol starts a request (`_start_asgi_task`), which is not public.
Where that is missing, as in other versions that a model may bring, all goes through ASGI.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

from mlflow_model_server.responses import Reply

if TYPE_CHECKING:
    from uvicorn.protocols.http.httptools_impl import RequestResponseCycle

    from mlflow_model_server.http.app import Application


def http_protocol(app: Application) -> Any:
    """What uvicorn is to be told to speak HTTP with."""
    try:
        from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol
    except ImportError:
        return "auto"
    if not hasattr(HttpToolsProtocol, "_start_asgi_task"):
        return "auto"

    class Express(HttpToolsProtocol):
        # The request whose body has not come yet, and the ASGI application that would answer it.
        _held: tuple[RequestResponseCycle, Any] | None = None

        def _start_asgi_task(self, cycle: RequestResponseCycle, asgi: Any) -> None:
            if cycle.more_body and app.is_express(cycle.scope["method"], cycle.scope["path"]):
                self._held = cycle, asgi
            else:
                super()._start_asgi_task(cycle, asgi)

        def on_message_complete(self) -> None:
            super().on_message_complete()
            held, self._held = self._held, None
            if held is not None and not self._begin(*held):
                super()._start_asgi_task(*held)

        def data_received(self, data: bytes) -> None:
            super().data_received(data)
            if self._held is not None:  # the body comes in parts
                held, self._held = self._held, None
                super()._start_asgi_task(*held)

        def _begin(self, cycle: RequestResponseCycle, asgi: Any) -> bool:
            if self.flow.write_paused:
                return False
            answer = partial(self._answer, cycle, asgi)
            return app.begin(self.headers, cycle.body, partial(_is_over, cycle), answer)

        def _answer(self, cycle: RequestResponseCycle, asgi: Any, reply: Reply | None) -> None:
            if reply is None:
                super()._start_asgi_task(cycle, asgi)
                return
            parts = [STATUS_LINE[reply.status]]
            for name, value in (*self.server_state.default_headers, *reply.all_headers):
                parts += (name, b": ", value, b"\r\n")
            if not cycle.keep_alive:
                parts.append(b"connection: close\r\n")
            parts += (b"\r\n", reply.body)
            self.transport.write(b"".join(parts))
            cycle.response_started = cycle.response_complete = True
            if not cycle.keep_alive:
                self.transport.close()
            cycle.on_response()

    return Express


def _is_over(cycle: RequestResponseCycle) -> bool:
    return bool(cycle.disconnected or cycle.response_complete or cycle.transport.is_closing())
