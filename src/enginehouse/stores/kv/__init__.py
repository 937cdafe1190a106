"""State that replicas share: what there is of it, and where it is kept.

Lines of shared upstreams (`Lines`) are kept in Redis; `enginehouse.testing.MemoryLines` is the same in one process,
and `core.admission.gate` is what a single replica has instead. What limits count (`Tallies`) is kept in Redis or in
this process, as are copies of conversations at hand (`HotCopies`) and finished answers (`Answers`). Letters between
replicas (`Post`) go by Redis, and what all of them tell (`Chronicle`) stands there; a single replica writes none.
"""

from enginehouse.stores.kv.answers import Answers, Holding
from enginehouse.stores.kv.chronicle import Chronicle, Line
from enginehouse.stores.kv.hot import HotCopies, MemoryCopies
from enginehouse.stores.kv.lines import End, Figures, Join, Lines, Listener, Moves, Outcome
from enginehouse.stores.kv.memory_answers import MemoryAnswers
from enginehouse.stores.kv.memory_tallies import Account, MemoryTallies
from enginehouse.stores.kv.post import Post
from enginehouse.stores.kv.redis_answers import RedisAnswers
from enginehouse.stores.kv.redis_chronicle import RedisChronicle
from enginehouse.stores.kv.redis_hot import RedisCopies
from enginehouse.stores.kv.redis_lines import RedisLines
from enginehouse.stores.kv.redis_post import RedisPost
from enginehouse.stores.kv.redis_rulings import RedisRulings
from enginehouse.stores.kv.redis_store import RedisStore
from enginehouse.stores.kv.redis_tallies import RedisTallies
from enginehouse.stores.kv.tallies import Asked, Seats, Spent, Standing, Taken, Tallies, Window

__all__ = [
    "Account",
    "Answers",
    "Asked",
    "Chronicle",
    "End",
    "Figures",
    "Holding",
    "HotCopies",
    "Join",
    "Line",
    "Lines",
    "Listener",
    "MemoryAnswers",
    "MemoryCopies",
    "MemoryTallies",
    "Moves",
    "Outcome",
    "Post",
    "RedisAnswers",
    "RedisChronicle",
    "RedisCopies",
    "RedisLines",
    "RedisPost",
    "RedisRulings",
    "RedisStore",
    "RedisTallies",
    "Seats",
    "Spent",
    "Standing",
    "Taken",
    "Tallies",
    "Window",
]
