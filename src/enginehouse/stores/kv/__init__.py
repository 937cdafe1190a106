"""State that replicas share: what there is of it, and where it is kept.

So far this is the lines of shared upstreams (`Lines`), kept in Redis. `enginehouse.testing.MemoryLines` is the same
in one process, and `core.admission.gate` is what a single replica has instead. Rate limits, sessions and the exact
cache will be protocols of their own beside `Lines`, each as small as its one user needs it, with a Lua file of its
own run by the same `RedisStore`.
"""

from enginehouse.stores.kv.lines import End, Figures, Join, Lines, Listener, Moves, Outcome
from enginehouse.stores.kv.redis_lines import RedisLines
from enginehouse.stores.kv.redis_store import RedisStore

__all__ = ["End", "Figures", "Join", "Lines", "Listener", "Moves", "Outcome", "RedisLines", "RedisStore"]
