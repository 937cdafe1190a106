"""The way of one request: a record, a slot, a lease, an engine's answer, and another try where that helps."""

from enginehouse.core.gateway.gateway import Answering, Classified, Embedded, Gateway, Ranked
from enginehouse.core.gateway.guarding import Guarding
from enginehouse.core.gateway.patience import Limit, patience
from enginehouse.core.gateway.recall import Recall
from enginehouse.core.gateway.seats import Seat, Seats
from enginehouse.core.gateway.spending import Spending
from enginehouse.core.gateway.wording import Wording

__all__ = [
    "Answering",
    "Classified",
    "Embedded",
    "Gateway",
    "Guarding",
    "Limit",
    "Ranked",
    "Recall",
    "Seat",
    "Seats",
    "Spending",
    "Wording",
    "patience",
]
