"""The report of savings: what the recorded traffic would have cost with a cache, cheaper equals, or batches.

It is asked seldom and reads records; both of its looks are bounded, and it says how far they went. What the ledger
cannot know is named as unknown.
"""

from collections.abc import Awaitable, Callable, Iterable, Sequence
from datetime import UTC, datetime
from decimal import Decimal
from functools import partial
from typing import Any

from msgspec import Struct

from enginehouse.core.ledger.books import nothing_ahead
from enginehouse.core.ledger.prices import Prices
from enginehouse.core.ledger.reckoning import Line, Work, batched, cached, cheaper, merged
from enginehouse.core.ledger.record import dollars, first_id
from enginehouse.core.ledger.repeats import SCOPES, Repeats
from enginehouse.core.ledger.usage import Question
from enginehouse.stores.sql import Database, usage
from enginehouse.types import Model

__all__ = ["Batching", "Caching", "CheaperModels", "Recorded", "Savings", "SavingsReport"]

_MOST_SUMMED = 1_000_000
_MOST_SCANNED = 200_000
_BATCH = 2000

ASSUMPTIONS = (
    "Sections overlap and do not add up: a repeat that a cache answers does not run on a cheaper model.",
    "A cache answers a repeat with the earlier answer, also where the temperature would have made another one.",
    "A cheaper model is of the same kind, with at least the capabilities and context length by the catalogue.",
    "It is taken to need as many tokens. How good its answers are is not measured.",
    "Prices of what would have been are those of the day in priced_at.",
)
UNKNOWN = (
    "Beginnings that prompts share, which a provider's prompt cache would make cheaper: prompts are not kept.",
    "Whether somebody waited: batching counts every completed request that was not streamed, which is the most.",
    "Batch prices of models that run here: there are none, so they are left out of batching.",
    "Repeats that mean the same in other words.",
)


class Recorded(Struct, frozen=True, kw_only=True):
    """What the report starts from: requests that an engine or a cache answered."""

    requests: int
    cost: Decimal
    unpriced_requests: int
    """Without a known price; they are in no line."""
    cached_requests: int
    """Answered from the cache already."""
    after: str | None
    """When only the newest records were looked at: the time of the newest that was not."""


class Caching(Struct, frozen=True, kw_only=True):
    """Exact repeats."""

    saved: dict[str, Decimal]
    """By scope; a tenant's repeats include its users' own."""
    ttl_seconds: float
    """How long an answer would have been kept."""
    examined_requests: int
    requests_without_digest: int
    """Of which nobody can say whether they are repeats."""
    after: str | None
    """As in `Recorded`."""
    lines: list[Line]


class CheaperModels(Struct, frozen=True, kw_only=True):
    """Equals that cost less."""

    saved: Decimal
    """With the cheapest of each model's."""
    not_compared: list[str]
    """Models that are not in the catalogue any more."""
    lines: list[Line]


class Batching(Struct, frozen=True, kw_only=True):
    """Requests to providers that were not streamed."""

    saved: Decimal
    """By known batch prices, and the assumed discount if one was given."""
    batch_discount: Decimal | None
    """Assumed where no batch price is known."""
    eligible_requests: int
    lines: list[Line]


class SavingsReport(Struct, frozen=True, kw_only=True):
    """All of it; money in US dollars."""

    start: str
    end: str
    user: str | None
    priced_at: str
    recorded: Recorded
    caching: Caching
    cheaper_models: CheaperModels
    batching: Batching
    assumptions: Sequence[str] = ASSUMPTIONS
    unknown: Sequence[str] = UNKNOWN


class Savings:
    """Makes the report.

    Args:
        database: where the ledger's records are.
        models: those of the catalogue.
        prices: what they cost now.
        ttl: seconds for which a cache would keep an answer.
        caught_up: waits until the records of all answers are there: `Ledger.caught_up`.
        most_summed: newest records that are summed up.
        most_scanned: newest records that are looked at one by one, for repeats.
    """

    def __init__(
        self,
        database: Database,
        models: Callable[[], Iterable[Model]],
        prices: Callable[[], Prices],
        ttl: Callable[[], float],
        *,
        caught_up: Callable[[], Awaitable[None]] = nothing_ahead,
        most_summed: int = _MOST_SUMMED,
        most_scanned: int = _MOST_SCANNED,
    ) -> None:
        self._database = database
        self._caught_up = caught_up
        self._models = models
        self._prices = prices
        self._ttl = ttl
        self._most_summed = most_summed
        self._most_scanned = most_scanned

    async def report(
        self,
        question: Question,
        now: datetime,
        *,
        batch_discount: Decimal | None = None,
        may_use: Callable[[Model], bool] = lambda _: True,
    ) -> SavingsReport:
        """What would have cost less.

        Args:
            question: when and whose.
            now: the present.
            batch_discount: assumed where no batch price is known, 0 to 1.
            may_use: which models may be named instead of others.

        Raises:
            StoreUnavailable: the database cannot be reached.
        """
        last = datetime.fromtimestamp(question.end - 1, UTC)
        when = min(now, last)
        await self._caught_up()
        rows, bound = await self._sums(question)
        works = [_work(row) for row in rows if not row["unpriced"] and not row["cache"]]
        batchable = [_work(row) for row in rows if _could_wait(row)]
        return SavingsReport(
            start=_instant(question.start),
            end=_instant(question.end),
            user=question.user,
            priced_at=when.date().isoformat(),
            recorded=_recorded(rows, _time(bound)),
            caching=await self._caching(question),
            cheaper_models=self._cheaper(merged(works), when, may_use),
            batching=self._batching(batchable, when, batch_discount),
        )

    async def _sums(self, question: Question) -> tuple[list[usage.Row], str | None]:
        """And the id behind which they are, if that is not all."""
        after, before = _ids(question)

        def work(connection: Any) -> tuple[list[usage.Row], str | None]:
            bound = usage.newest(connection, after, before, self._most_summed, question.user)
            return usage.work_done(connection, bound or after, before, question.user), bound

        return await self._database.read(work)

    async def _caching(self, question: Question) -> Caching:
        after, before = _ids(question)
        user = question.user
        bound = await self._database.read(
            lambda connection: usage.newest(connection, after, before, self._most_scanned, user)
        )
        repeats = Repeats(self._ttl(), SCOPES if user is None else ("user",))
        at: str | None = bound or after
        while at is not None:
            scan = partial(usage.asked, after=at, before=before, limit=_BATCH, user=user)
            rows = await self._database.read(scan)
            repeats.add(rows)
            at = rows[-1]["id"] if len(rows) == _BATCH else None
        lines = [cached(*found) for found in repeats.found()]
        scopes = SCOPES if user is None else ("user",)
        return Caching(
            saved={scope: _saved(line for line in lines if line.scope == scope) for scope in scopes},
            ttl_seconds=self._ttl(),
            examined_requests=repeats.seen,
            requests_without_digest=repeats.without_digest,
            after=_time(bound),
            lines=lines,
        )

    def _cheaper(self, works: Sequence[Work], when: datetime, may_use: Callable[[Model], bool]) -> CheaperModels:
        models, prices = list(self._models()), self._prices()
        known = {model.id: model for model in models}
        others = [model for model in models if may_use(model)]
        found = [cheaper(work, known[work.model], others, prices, when) for work in works if work.model in known]
        return CheaperModels(
            saved=_saved(lines[0] for lines in found if lines),
            not_compared=sorted(work.model for work in works if work.model not in known),
            lines=[line for lines in found for line in lines],
        )

    def _batching(self, works: Sequence[Work], when: datetime, discount: Decimal | None) -> Batching:
        prices = self._prices()
        lines = [batched(work, prices, when, discount) for work in works]
        lines = [line for line in lines if line.saved is None or line.saved > 0]
        return Batching(
            saved=_saved(lines),
            batch_discount=discount,
            eligible_requests=sum(work.requests for work in works),
            lines=sorted(lines, key=lambda line: -(line.saved or 0)),
        )


def _work(row: usage.Row) -> Work:
    counts = ("requests", "input_tokens", "cached_input_tokens", "cost", "longest_input", "longest")
    return Work(
        model=row["model"],
        provider=row["provider"],
        upstream_model=row["upstream_model"] or row["model"],
        output_tokens=row["output_tokens"] + row["reasoning_tokens"],
        **{name: row[name] for name in counts},
    )


def _could_wait(row: usage.Row) -> bool:
    plain = row["outcome"] == "completed" and not row["stream"] and not row["cache"]
    return bool(row["provider"]) and plain and not row["unpriced"]


def _recorded(rows: Sequence[usage.Row], after: str | None) -> Recorded:
    return Recorded(
        requests=sum(row["requests"] for row in rows),
        cost=dollars(sum(row["cost"] for row in rows)) or Decimal(0),
        unpriced_requests=sum(row["requests"] for row in rows if row["unpriced"]),
        cached_requests=sum(row["requests"] for row in rows if row["cache"]),
        after=after,
    )


def _saved(lines: Iterable[Line]) -> Decimal:
    return sum((line.saved for line in lines if line.saved is not None), Decimal(0))


def _ids(question: Question) -> tuple[str, str]:
    start, end = (datetime.fromtimestamp(seconds, UTC) for seconds in (question.start, question.end))
    return first_id(start), first_id(end)


def _time(bound: str | None) -> str | None:
    """The time in an id."""
    return None if bound is None else _instant(int(bound[:12], 16) // 1000)


def _instant(seconds: int) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
