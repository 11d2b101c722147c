from tests.unit.scoring.conftest import model, settings, wheels

__all__ = ["model", "settings", "wheels"]
