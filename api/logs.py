"""Log lines: for people, or one JSON object a line, each with the request it belongs to.

Owns the format. Invariant: a line never holds a key, a body or a free text of a request.
"""

from __future__ import annotations

import logging
import sys
from typing import Final

import orjson

ACCESS: Final = logging.getLogger("bursar.access")
SERVER: Final = logging.getLogger("bursar.server")
_FIELDS: Final = (
    "request_id", "authorization", "method", "path", "status", "milliseconds", "provider", "model", "agent", "outcome",
    "code", "input_tokens", "output_tokens", "cost", "currency", "trace_id",
)  # fmt: skip


def shown_path(path: str) -> str:
    """A path as log lines have it, without its query, cut and quoted: both are what a client chose to send."""
    return ascii(path[:200])[1:-1]


class JsonFormatter(logging.Formatter):
    """One JSON object a line."""

    def format(self, record: logging.LogRecord) -> str:
        """The line, without a line feed."""
        line = {
            "time": self.formatTime(record, "%Y-%m-%dT%H:%M:%S") + f".{int(record.msecs):03d}",
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        for name in _FIELDS:
            value = getattr(record, name, None)
            if value is not None:
                line[name] = value
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        return orjson.dumps(line, default=str).decode()


class TextFormatter(logging.Formatter):
    """A line for people: time, level, message, then the request's fields."""

    def format(self, record: logging.LogRecord) -> str:
        """The line; an exception follows on lines of its own."""
        text = super().format(record)
        fields = " ".join(
            f"{name}={getattr(record, name)}" for name in _FIELDS if getattr(record, name, None) is not None
        )
        return f"{text} {fields}" if fields else text


def configure(*, level: str, log_format: str) -> None:
    """Send every log line of this process to standard error in one format."""
    handler = logging.StreamHandler(sys.stderr)
    if log_format == "json":
        handler.setFormatter(JsonFormatter())
    else:
        handler.setFormatter(TextFormatter("%(asctime)s %(levelname)s %(name)s: %(message)s"))
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level.upper())
    # Alembic says at level info that it compared revisions, each time somebody asks whether the server is ready.
    logging.getLogger("alembic").setLevel(max(logging.WARNING, root.level))
    for name in ("uvicorn", "uvicorn.error", "uvicorn.access"):
        logger = logging.getLogger(name)
        logger.handlers[:] = []
        logger.propagate = True
        # The server's own chatter (process numbers, "waiting for connections") tells an operator nothing.
        logger.setLevel(max(logging.WARNING, root.level))
