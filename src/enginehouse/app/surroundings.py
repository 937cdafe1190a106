"""How the house is beside its requests: what the figures of every second tell of its other rooms."""

from collections import Counter
from collections.abc import Awaitable, Callable, Mapping, Sized
from datetime import UTC, datetime, timedelta
from itertools import count

from enginehouse.api.queue import line_of
from enginehouse.app.rooms import Rooms
from enginehouse.core.admission import Admission
from enginehouse.core.ledger.usage import Question
from enginehouse.core.replicas.outbox import WHOLE_EVERY
from enginehouse.core.traces.pulse import Slow, Surroundings

__all__ = ["looking", "slowly", "surroundings"]


def surroundings(rooms: Rooms, sockets: Sized) -> Callable[[], Surroundings]:
    """Asked once a second."""
    on = rooms.ground

    def look() -> Surroundings:
        models = on.catalogue.models()
        queues = {model.id: line_of(model.deployments[0], on.admission) for model in models}
        return Surroundings(
            active=sum(line["active"] for line in queues.values()),
            queued=sum(line["total"] for line in queues.values()),
            models=Counter(rooms.copies.status(model).state.value for model in models),
            memory=_memory(rooms),
            queues=queues,
            sockets=len(sockets),
            waiting_records=on.ledger.stats().waiting + on.ledger.stats().spooled,
        )

    return look


def looking(admission: Admission) -> Callable[[], Awaitable[None]]:
    """Called once a second: the lines that replicas share, as the store has them; all of them now and then."""
    beats = count()

    async def look() -> None:
        await admission.look(every=next(beats) % WHOLE_EVERY == 0)

    return look


async def slowly(rooms: Rooms, now: Callable[[], datetime] = lambda: datetime.now(UTC)) -> Slow:
    """What the database has to be asked for.

    Raises:
        StoreUnavailable: it is away.
    """
    begun = now().replace(hour=0, minute=0, second=0, microsecond=0)
    day = Question(start=int(begun.timestamp()), end=int((begun + timedelta(days=1)).timestamp()))
    summary = await rooms.usage.summary(day)
    return Slow(cost_today=summary["total_cost"], sessions=await rooms.archive.how_many())


def _memory(rooms: Rooms) -> Mapping[str, Mapping[str, int]]:
    """By memory: what there is, what is used by anybody, what models may take and take."""
    holdings = rooms.holdings
    pools = {"ram": holdings.ram(), **{f"vram.{gpu.index}": gpu.memory for gpu in holdings.gpus()}}
    budget, taken = holdings.budget(), holdings.taken()
    return {
        name: {
            "total": pool.total,
            "used": pool.used,
            "budget": budget.get(name, 0),
            "models": taken.get(name, 0),
        }
        for name, pool in pools.items()
    }
