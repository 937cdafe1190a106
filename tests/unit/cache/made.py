"""A cache in memory, and requests for it."""

import json

from enginehouse.core.cache.cache import Cache
from enginehouse.core.cache.rulings import Rulings
from enginehouse.core.gateway import Recall
from enginehouse.settings.schema import CacheSettings
from enginehouse.stores.kv import MemoryAnswers
from enginehouse.types import Caching, Principal

NOW = 1_800_000_000.0
ANN, BOB, EVE = (Principal(user=name, tenant="team") for name in ("ann", "bob", "eve"))


class Clock:
    """Seconds since 1970, as told."""

    def __init__(self, now=NOW):
        self.now = now

    def __call__(self):
        return self.now


def cache_of(clock=None, *, meaning=None, rulings=None, answers=None, secret=b"secret", **settings):
    clock = clock or Clock()
    settings = CacheSettings(**settings)
    return Cache(
        answers or MemoryAnswers(settings.max_bytes, clock),
        settings,
        secret,
        rulings or Rulings(clock=clock),
        meaning,
        clock,
    )


def recall_of(*args, **more):
    return Recall(cache_of(*args, **more))


def chat(text="hi", **more):
    """A chat request's body."""
    return json.dumps({"model": "m", "messages": [{"role": "user", "content": text}], **more}).encode()


NO_CACHE, NO_STORE = Caching(read=False), Caching(write=False)
