"""The operator's log: lines for people, or one JSON object per line for log collectors."""

from __future__ import annotations

import json
import logging
from datetime import UTC, datetime

from mlflow_model_operator.settings import Settings

_TEXT = "%(asctime)s %(levelname)s %(name)s: %(message)s"


class RetriedRequests(logging.Filter):
    """Logs requests that kopf will repeat as warnings: only the last attempt is an error."""

    def filter(self, record: logging.LogRecord) -> bool:
        """Changes the level of the record; always True."""
        if record.levelno == logging.ERROR and "; will retry:" in record.getMessage():
            record.levelno, record.levelname = logging.WARNING, "WARNING"
        return True


class JsonFormatter(logging.Formatter):
    """One object per record: time, level, logger, message, and exception where there is one."""

    def format(self, record: logging.LogRecord) -> str:
        """The record as one line."""
        entry = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        if record.exc_info:
            entry["exception"] = self.formatException(record.exc_info)
        return json.dumps(entry, ensure_ascii=False)


def configure(settings: Settings) -> None:
    """Logs to standard error, as the settings say."""
    handler = logging.StreamHandler()
    handler.addFilter(RetriedRequests())
    is_json = settings.log_format == "json"
    handler.setFormatter(JsonFormatter() if is_json else logging.Formatter(_TEXT))
    logging.basicConfig(level=settings.log_level.upper(), handlers=[handler], force=True)
    # kopf logs every event that it delivers.
    kopf = logging.DEBUG if settings.log_level == "debug" else logging.WARNING
    logging.getLogger("kopf").setLevel(kopf)
