"""State that replicas share: what there is of it, and where it is kept.

Lines of shared upstreams (`Lines`) are kept in Redis; `enginehouse.testing.MemoryLines` is the same in one process,
and `core.admission.gate` is what a single replica has instead. What limits count (`Tallies`) is kept in Redis or in
this process, as are copies of conversations at hand (`HotCopies`).
"""

from enginehouse.stores.kv.hot import HotCopies, MemoryCopies
from enginehouse.stores.kv.lines import End, Figures, Join, Lines, Listener, Moves, Outcome
from enginehouse.stores.kv.memory_tallies import MemoryTallies
from enginehouse.stores.kv.redis_hot import RedisCopies
from enginehouse.stores.kv.redis_lines import RedisLines
from enginehouse.stores.kv.redis_store import RedisStore
from enginehouse.stores.kv.redis_tallies import RedisTallies
from enginehouse.stores.kv.tallies import Asked, Seats, Spent, Standing, Taken, Tallies, Window

__all__ = [
    "Asked",
    "End",
    "Figures",
    "HotCopies",
    "Join",
    "Lines",
    "Listener",
    "MemoryCopies",
    "MemoryTallies",
    "Moves",
    "Outcome",
    "RedisCopies",
    "RedisLines",
    "RedisStore",
    "RedisTallies",
    "Seats",
    "Spent",
    "Standing",
    "Taken",
    "Tallies",
    "Window",
]
