"""The log: a line of JSON each, without ratings, titles, ids and keys."""

import json
import logging
import sys
from datetime import UTC, datetime
from typing import Any


class JsonLines(logging.Formatter):
    """One record as one line of JSON."""

    def format(self, record: logging.LogRecord) -> str:
        """The line."""
        said: dict[str, Any] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "event": record.getMessage(),
            **getattr(record, "fields", {}),
        }
        if record.exc_info and record.exc_info[1] is not None:
            # Where in the code, and never what the message says: it may quote what was sent.
            error, at = record.exc_info[1], record.exc_info[2]
            where = []
            while at is not None:
                where.append(f"{at.tb_frame.f_globals.get('__name__')}:{at.tb_lineno}")
                at = at.tb_next
            said |= {"error": type(error).__name__, "where": where[-8:]}
        return json.dumps(said)


def start(*, requests: bool) -> None:
    """Write the service's log to stderr.

    Args:
        requests: whether there is a line for each request.
    """
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonLines())
    logger = logging.getLogger("dotbias.serving")
    logger.handlers[:] = [handler]
    logger.setLevel(logging.INFO)
    logger.propagate = False
    logging.getLogger("dotbias.serving.requests").setLevel(
        logging.INFO if requests else logging.WARNING
    )
