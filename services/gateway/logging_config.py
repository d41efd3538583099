"""Structured logs: one JSON object a line on standard error, each with its request's id."""

from __future__ import annotations

import json
import logging
import logging.config
from datetime import UTC, datetime
from typing import Any

from services.gateway.context import current_request_id
from services.gateway.tracing import current_trace_id

_STANDARD = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "color_message"}


class JsonFormatter(logging.Formatter):
    """Writes a record as one line of JSON; what is passed as `extra` becomes members of it."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the line, in UTC and without line breaks."""
        line: dict[str, Any] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        request_id = current_request_id()
        if request_id is not None:
            line["request_id"] = request_id
        trace_id = current_trace_id()
        if trace_id is not None:
            line["trace_id"] = trace_id
        line.update({key: value for key, value in vars(record).items() if key not in _STANDARD})
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        return json.dumps(line, default=str)


def configure_logging(level: str) -> None:
    """Send every logger's lines to standard error as JSON.

    Args:
        level: Name of the least severe level to write, e.g. 'info'.
    """
    logging.config.dictConfig(
        {
            "version": 1,
            "disable_existing_loggers": False,
            "formatters": {"json": {"()": JsonFormatter}},
            "handlers": {"stderr": {"class": "logging.StreamHandler", "formatter": "json"}},
            "root": {"level": level.upper(), "handlers": ["stderr"]},
            "loggers": {
                "uvicorn": {"handlers": [], "level": level.upper(), "propagate": True},
                # Requests are logged once, by our own middleware, which knows their outcome.
                "uvicorn.access": {"handlers": [], "level": "WARNING", "propagate": True},
                # At debug these would write down the addresses that callers name.
                "httpcore": {"level": "WARNING"},
                "httpx": {"level": "WARNING"},
                "urllib3": {"level": "WARNING"},
                # numba and Pillow explain every byte at this level; nobody reads that.
                "numba": {"level": "WARNING"},
                "PIL": {"level": "INFO"},
            },
        }
    )
    logging.captureWarnings(True)
