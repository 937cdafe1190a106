"""A line of the log for every request to a model, once it has ended."""

import logging

import structlog

from enginehouse.core.traces.trace import Trace

__all__ = ["RequestLines"]

log = structlog.get_logger()


class RequestLines:
    """Writes them.

    Args:
        wanted: whether they are to be written.
    """

    def __init__(self, *, wanted: bool) -> None:
        self.adopt(wanted=wanted)

    def adopt(self, *, wanted: bool) -> None:
        """From the next request on."""
        self.on = wanted and log.is_enabled_for(logging.INFO)
        """Whether they are written, at the level the log has."""

    def hear(self, *traces: Trace) -> None:
        """Requests have ended."""
        for trace in traces if self.on else ():
            log.info(
                "request",
                request_id=trace.request_id,
                user=trace.user_id,
                model=trace.model,
                face=trace.face or trace.path,
                status=trace.status,
                outcome=trace.outcome,
                error=trace.error,
                cache=trace.cache,
                ms=trace.total_us / 1000,
                tokens=trace.tokens,
            )
