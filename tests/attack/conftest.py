from tests.unit.server.conftest import model, settings, wheels

__all__ = ["model", "settings", "wheels"]
