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
            "event": self._event(record),
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

    @staticmethod
    def _event(record: logging.LogRecord) -> str:
        if record.name.startswith("dotbias.serving"):
            return record.getMessage()
        # Others may fill in or append what was sent, or what an error says of it.
        return f"{record.name}: {str(record.msg).partition(chr(10))[0]}"


def start(*, requests: bool) -> None:
    """Write the service's log to stderr.

    Args:
        requests: whether there is a line for each request.
    """
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonLines())
    # Of all: what uvicorn says of a request that is none is a line of JSON as well.
    for name in (None, "dotbias"):
        logging.getLogger(name).handlers[:] = [handler]
    logging.getLogger("dotbias").propagate = False
    logging.getLogger("dotbias.serving").setLevel(logging.INFO)
    logging.getLogger("dotbias.serving.requests").setLevel(
        logging.INFO if requests else logging.WARNING
    )
