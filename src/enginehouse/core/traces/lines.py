"""A line of the log for every request to a model, once it has ended."""

from collections.abc import Callable

import structlog

from enginehouse.core.traces.trace import Trace

__all__ = ["log_requests"]

log = structlog.get_logger()


def log_requests(wanted: Callable[[], bool]) -> Callable[[Trace], None]:
    """A listener.

    Args:
        wanted: whether lines are to be written now.
    """

    def hear(trace: Trace) -> None:
        if wanted():
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

    return hear
