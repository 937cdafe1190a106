"""Log lines: structured events, for a person on a terminal or as JSON for a machine.

A line that is written while a request is being answered says which; keys and passwords are taken out of every line.
"""

import logging
import sys
from collections.abc import Mapping
from typing import Any

import msgspec
import structlog

from enginehouse.telemetry.context import REQUEST
from enginehouse.telemetry.redaction import scrubbed

__all__ = ["configure_logs"]


def configure_logs(level_name: str, form: str, *, for_good: bool = False) -> None:
    """Send every event, ours and the libraries', to standard error in one form.

    Args:
        level_name: the lowest level that is written, `debug` to `error`.
        form: `human`, `json`, or `auto`, which is human on a terminal and JSON elsewhere.
        for_good: nobody in this process will configure them again, so that each logger may keep what it is now.
    """
    level = logging.getLevelNamesMapping()[level_name.upper()]
    human = form == "human" or (form == "auto" and sys.stderr.isatty())
    shared: list[structlog.typing.Processor] = [
        _of_a_request,
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="%H:%M:%S" if human else "iso", utc=not human),
    ]
    structlog.configure(
        processors=[*shared, *_renderers(human=human)],
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=structlog.WriteLoggerFactory(sys.stderr),
        cache_logger_on_first_use=for_good,
    )
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=[*shared, structlog.stdlib.add_logger_name],
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *_renderers(human=human)],
        )
    )
    root = logging.getLogger()
    root.handlers = [handler]
    root.setLevel(max(level, logging.INFO))
    for chatty in ("uvicorn.access", "watchfiles", "aiohttp.access"):
        logging.getLogger(chatty).setLevel(logging.WARNING)


def _renderers(*, human: bool) -> list[structlog.typing.Processor]:
    if human:
        # Plain traces: the pretty ones print local variables, and those hold keys.
        plain = structlog.dev.plain_traceback
        return [
            structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty(), exception_formatter=plain),
            _without_secrets,
        ]
    return [structlog.processors.format_exc_info, structlog.processors.JSONRenderer(_dumped), _without_secrets]


def _of_a_request(_: object, __: str, event: structlog.typing.EventDict) -> structlog.typing.EventDict:
    """With the id of the request that is being answered."""
    if (request := REQUEST.get()) and "request_id" not in event:
        event["request_id"] = request
    return event


def _without_secrets(_: object, __: str, line: Any) -> str:
    """The last look at what is going to be written."""
    return scrubbed(str(line))


def _dumped(event: Mapping[str, Any], **_: object) -> str:
    """What JSON has no word for is told as text."""
    return msgspec.json.encode(event, enc_hook=str).decode()
