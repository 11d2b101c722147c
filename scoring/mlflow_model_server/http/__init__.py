"""The ASGI application: the only place that knows HTTP."""
