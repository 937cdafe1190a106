"""Vectors of questions, soon or not at all: an embedder that is away or hangs costs a request next to nothing.

How long a request waits follows from how long the embedder took of late, as a sender on a network learns when to
send again (RFC 6298). The first request that waits in vain lets go of all who wait, and from then on none does: a
watch asks beside the requests, and when it is answered in time, they ask again. Chores, for which nobody waits, are
done until the watch itself has asked in vain.
"""

import asyncio
import sys
import time
from collections import OrderedDict
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from importlib import import_module
from typing import TYPE_CHECKING

import structlog

from enginehouse.errors import EnginehouseError

if TYPE_CHECKING:
    from enginehouse.core.cache.semantic.block import Floats

__all__ = ["Embeds", "Mind", "open_mind"]

log = structlog.get_logger()

Embeds = Callable[[Sequence[str]], Awaitable[Sequence[Sequence[float]]]]
"""One vector a text; raises EnginehouseError when it cannot."""

_LEAST = 0.1
"""Part of the deadline that a request waits at least: a busy moment is no failure."""
_MEAN, _SPREAD, _SPREADS = 1 / 8, 1 / 4, 4
"""How fast the mean time and its spread are learnt, and how many spreads above the mean are still usual."""
_AGAIN = 2.0
"""Seconds between two tries of the watch."""
_LONGEST = 10.0
"""Seconds after which what nobody waits for is given up, too."""
_REMEMBERED = 512
"""Texts whose vectors are kept at hand: what is looked for in vain is stored a little later."""
_TRIED = "is anybody there?"


class Mind:
    """An embedder with a deadline, and a rest while it is away.

    Args:
        embed: who makes vectors.
        deadline: most seconds that a request waits.
        clock: seconds.
    """

    def __init__(self, embed: Embeds, deadline: float, clock: Callable[[], float] = time.perf_counter) -> None:
        self._embed, self._deadline, self._clock = embed, deadline, clock
        self._mean = self._spread = 0.0
        self._waiting: set[asyncio.Timeout] = set()
        self._doubted = asyncio.Event()
        self._lost = False
        self._recent: OrderedDict[str, Floats] = OrderedDict()
        self._told = False
        self.failed = 0
        """Times that it failed or was too slow, since the start."""

    @property
    def resting(self) -> bool:
        """Whether nobody asks it now, but the watch."""
        return self._doubted.is_set()

    @property
    def lost(self) -> bool:
        """Whether nobody gets a vector now: the watch asked in vain, and none is at hand."""
        return self._lost and not self._recent

    @property
    def patience(self) -> float:
        """Seconds that a request waits for its vector now."""
        usual = self._mean + _SPREADS * self._spread
        return min(self._deadline, max(_LEAST * self._deadline, usual)) if self._mean else self._deadline

    async def soon(self, text: str) -> "Floats | None":
        """A vector, if it is there before patience ends; None when there is none."""
        if (known := self._recent.get(text)) is not None:
            return known
        if self.resting:
            return None
        try:
            async with asyncio.timeout(self.patience) as limit:
                self._waiting.add(limit)
                try:
                    return self._remembered(text, (await self._vectors(text))[0])
                finally:
                    self._waiting.discard(limit)
        except (EnginehouseError, TimeoutError) as error:
            self._missed(error)
            return None

    async def later(self, *texts: str) -> "Floats | None":
        """Vectors, one a row, for which nobody waits; None when there are none."""
        if all(text in self._recent for text in texts):
            import numpy as np

            return np.stack([self._recent[text] for text in texts])
        if self._lost:
            return None
        try:
            async with asyncio.timeout(_LONGEST):
                return await self._vectors(*texts)
        except (EnginehouseError, TimeoutError) as error:
            self._missed(error)
            return None

    async def watch(self) -> None:
        """Whenever it is doubted, see for ever anew whether it is there."""
        while True:
            await self._doubted.wait()
            seconds = await self._tried()
            self._lost = seconds is None
            if seconds is not None and seconds <= self._deadline:
                self._told = False
                self._doubted.clear()
            else:
                await asyncio.sleep(_AGAIN)

    async def _tried(self) -> float | None:
        """How long a vector takes now; None when there is none."""
        began = self._clock()
        try:
            async with asyncio.timeout(_LONGEST):
                await self._vectors(_TRIED)
        except (EnginehouseError, TimeoutError) as error:
            self._tell(error)
            return None
        except Exception:
            log.exception("semantic_cache_embedder_failed")  # it may be another one the next time
            return None
        return self._clock() - began

    async def _vectors(self, *texts: str) -> "Floats":
        """Of unit length; how long one text takes is learnt.

        Raises:
            EnginehouseError: they cannot be had.
        """
        if (
            "numpy" not in sys.modules
        ):  # 16 MB, and a tenth of a second, that a service without questions does not need
            await asyncio.to_thread(import_module, "numpy")
        import numpy as np

        began = self._clock()
        vectors = np.asarray(await self._embed(list(texts)), dtype=np.float32)
        if len(texts) == 1:
            self._took(self._clock() - began)
        return vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), np.finfo(np.float32).tiny)

    def _remembered(self, text: str, vector: "Floats") -> "Floats":
        self._recent[text] = vector
        if len(self._recent) > _REMEMBERED:
            self._recent.popitem(last=False)
        return vector

    def _took(self, seconds: float) -> None:
        if not self._mean:
            self._mean, self._spread = seconds, seconds / 2
            return
        self._spread += _SPREAD * (abs(seconds - self._mean) - self._spread)
        self._mean += _MEAN * (seconds - self._mean)

    def _missed(self, error: EnginehouseError | TimeoutError) -> None:
        self.failed += 1
        if isinstance(error, EnginehouseError):
            self._tell(error)
        self._doubted.set()
        now = asyncio.get_running_loop().time()
        for limit in self._waiting:
            if not limit.expired():
                limit.reschedule(now)

    def _tell(self, error: EnginehouseError | TimeoutError) -> None:
        """Once, until it is back: each question would say the same."""
        if not self._told:
            self._told = True
            said = error.message if isinstance(error, EnginehouseError) else f"no answer within {_LONGEST:g} s"
            log.warning("semantic_cache_has_no_vectors", error=said)


@asynccontextmanager
async def open_mind(embed: Embeds, deadline: float) -> AsyncGenerator[Mind]:
    """A mind with its watch, while the context lasts; arguments as of `Mind`."""
    mind = Mind(embed, deadline)
    async with asyncio.TaskGroup() as group:
        watch = group.create_task(mind.watch(), name="semantic cache embedder")
        try:
            yield mind
        finally:
            watch.cancel()
