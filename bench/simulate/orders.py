"""In which order models leave memory: the service's own, and two that it is held against.

All three decide by the same code (`residency.policy.plan`): what fits, who may go, who waits. They differ in what a
resident is said to be worth: one whose loading costs nothing is judged by its last use alone, and one that is
said to have been used last when it became ready is judged by its age.
"""

from collections.abc import Callable
from typing import TypeAlias

from msgspec import structs

from enginehouse.residency.policy import Standing

__all__ = ["ORDERS", "Order"]

Order: TypeAlias = Callable[[Standing], Standing]


def _ours(one: Standing) -> Standing:
    return one


def _lru(one: Standing) -> Standing:
    return structs.replace(one, reload_seconds=0.0)


def _fifo(one: Standing) -> Standing:
    return structs.replace(one, reload_seconds=0.0, last_used=one.ready_since)


ORDERS: dict[str, Order] = {"ours": _ours, "lru": _lru, "fifo": _fifo}
"""By the name under which results are kept."""
