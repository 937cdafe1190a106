"""What a step has told of a shared line, in the words in which a gate tells of itself."""

from enginehouse.core.admission.pace import Pace
from enginehouse.core.admission.ticket import QueueStats
from enginehouse.stores.kv import Figures, Outcome
from enginehouse.types import Priority

__all__ = ["queue_stats", "service_time"]


def service_time(outcome: Outcome) -> float:
    """Mean seconds a slot is held, over all replicas; before the first has ended what any gate takes it to be."""
    return Pace().service if outcome.service is None else outcome.service


def queue_stats(outcome: Outcome, figures: Figures) -> QueueStats:
    """All replicas' numbers."""
    pace = Pace()
    for seconds in figures.waits:
        pace.waited(seconds)
    return QueueStats(
        scope="shared",
        slots=outcome.slots,
        active=outcome.active,
        depth=dict(zip(Priority, figures.depth, strict=True)),
        wait_p50=pace.wait(0.5),
        wait_p95=pace.wait(0.95),
        service_time=service_time(outcome),
        served=figures.served,
        rejected=figures.rejected,
        timed_out=figures.timed_out,
        left=figures.left,
    )
