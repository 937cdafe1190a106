"""Questions about usage, answered from the hourly and daily sums; no question reads records."""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from datetime import UTC, date, datetime, timedelta
from typing import Any, TypeVar

import msgspec
from msgspec import Struct
from sqlalchemy import Connection

from enginehouse.core.ledger.books import nothing_ahead
from enginehouse.core.ledger.record import day_of, dollars
from enginehouse.errors import InvalidRequest
from enginehouse.stores.sql import Database, sums
from enginehouse.stores.sql.rollups import MEASURES, PERIODS
from enginehouse.stores.sql.usage import TOKENS, Row

__all__ = ["GROUPS", "Question", "UsageReports", "bounds", "encode"]

GROUPS = ("user", "model", "key", "tenant", "tag", "day", "hour")
"""What usage may be grouped by."""
T = TypeVar("T")

_USUAL_DAYS = 30

encode = msgspec.json.Encoder(decimal_format="number").encode
"""JSON with money as exact numbers."""


class Question(Struct, frozen=True, kw_only=True):
    """What somebody wants to know."""

    start: int
    """First second, since 1970, UTC; the beginning of an hour."""
    end: int
    """First second after it; the beginning of an hour."""
    user: str | None = None
    """Whose usage; None is everybody's."""
    operation: str | None = None
    """Only this one, such as `embedding`."""
    group_by: str | None = None


class UsageReports:
    """Answers questions about usage.

    Args:
        database: where the ledger's sums are.
        caught_up: waits until they hold what was recorded by now: `Ledger.caught_up`.
    """

    def __init__(self, database: Database, caught_up: Callable[[], Awaitable[None]] = nothing_ahead) -> None:
        self._database = database
        self._caught_up = caught_up

    async def summary(self, question: Question) -> dict[str, Any]:
        """Totals, by model and by day, and by what was asked for; money is Decimal, None where no price is known.

        Raises:
            StoreUnavailable: the database cannot be reached.
        """
        return await self._read(lambda connection: _summary(connection, question))

    async def groups(self, question: Question) -> list[dict[str, Any]]:
        """Only the groups; by day, unless the question says otherwise."""
        return await self._read(lambda connection: _groups(connection, question, question.group_by or "day"))

    async def last_used(self) -> dict[str, int]:
        """Key id → when its last recorded request came, in seconds since 1970; keys without one are not there."""
        return await self._read(sums.last_used)

    async def _read(self, work: Callable[[Connection], T]) -> T:
        await self._caught_up()
        return await self._database.read(work)


def bounds(
    start: str | None, end: str | None, now: datetime, names: tuple[str, str] = ("start_date", "end_date")
) -> tuple[int, int]:
    """The range of time that two texts mean, in seconds since 1970, the end excluded.

    Args:
        start: `2024-01-31`, or a time on the full hour such as `2024-01-31T10:00:00Z`; 30 days before the end when
            left out.
        end: likewise; a date counts as a whole, a time is not in the range any more. Today when left out.
        now: the present.
        names: what the two are called where they were given.

    Raises:
        InvalidRequest: no such date, not on the hour, or the end is before the start.
    """
    last = _moment(names[1], end or now.date().isoformat(), whole_day=True)
    first = _moment(names[0], start, whole_day=False) if start else last - timedelta(days=_USUAL_DAYS)
    if first >= last:
        raise InvalidRequest(f"{names[1]} is before {names[0]}.", param=names[1])
    return int(first.timestamp()), int(last.timestamp())


def _moment(name: str, text: str, *, whole_day: bool) -> datetime:
    try:
        if len(text) == len("2024-01-31"):
            midnight = datetime.combine(date.fromisoformat(text), datetime.min.time(), UTC)
            return midnight + timedelta(days=1) if whole_day else midnight
        # A `+` of a query string that was not encoded has become a blank.
        found = datetime.fromisoformat(text.replace(" ", "+") if "T" in text else text)
        moment = (found if found.tzinfo else found.replace(tzinfo=UTC)).astimezone(UTC)
    except (ValueError, OverflowError):
        raise InvalidRequest(
            f"{name} is {text!r}; it has to be a date such as 2024-01-31 or a time such as 2024-01-31T10:00:00Z.",
            param=name,
        ) from None
    if moment.timestamp() % PERIODS["hour"]:
        raise InvalidRequest(f"{name} is {text!r}; usage is kept by the hour, so give a full hour.", param=name)
    return moment


def _summary(connection: Connection, question: Question) -> dict[str, Any]:
    days = _daily(_sums(connection, question, "total", by="start", widest="day"))
    models = _sums(connection, question, "model", by="value")
    total = _totals(days)
    answer: dict[str, Any] = {
        "total_requests": total["requests"],
        "total_tokens": _tokens(total),
        "total_cost": _cost(total),
        "requests_by_model": {row["value"]: row["requests"] for row in models},
        "cost_by_model": {row["value"]: _cost(row) for row in models},
        "daily_usage": [
            {"date": day_of(row["start"]), "requests": row["requests"], "cost": _cost(row), "tokens": _tokens(row)}
            for row in days
        ],
        **{name: total[name] for name in TOKENS},
        "failed_requests": total["failed"],
        "cancelled_requests": total["cancelled"],
        "cached_requests": total["cache_hits"],
        "unpriced_requests": total["unpriced"],
        "start": _instant(question.start),
        "end": _instant(question.end),
    }
    if question.group_by:
        answer["group_by"] = question.group_by
        answer["groups"] = _groups(connection, question, question.group_by)
    return answer


def _groups(connection: Connection, question: Question, by: str) -> list[dict[str, Any]]:
    if by == "day":
        rows = _daily(_sums(connection, question, "total", by="start", widest="day"))
        return [{"day": day_of(row["start"]), **_told(row)} for row in rows]
    if by == "hour":
        rows = _sums(connection, question, "total", by="start", widest="hour")
        return [{"hour": _instant(row["start"]), **_told(row)} for row in rows]
    rows = _sums(connection, question, by, by="value")
    return [
        {by: row["value"], **_told(row)} for row in sorted(rows, key=lambda row: (-row["cost"], -row["requests"]))
    ]


def _sums(
    connection: Connection, question: Question, dimension: str, *, by: str, widest: str = "octave"
) -> list[Row]:
    of_users = dimension == "user"
    return sums.sums(
        connection,
        start=question.start,
        end=question.end,
        widest=widest,
        user="" if of_users else question.user or "",
        dimension=dimension,
        by=by,
        operation=question.operation,
        value=question.user if of_users else None,
    )


def _daily(rows: Sequence[Row]) -> list[dict[str, Any]]:
    """Hours added up to the days of UTC; days stay as they are."""
    days: dict[int, dict[str, Any]] = {}
    for row in rows:
        start = row["start"] - row["start"] % PERIODS["day"]
        day = days.setdefault(start, {"start": start, **dict.fromkeys(MEASURES, 0)})
        for name in MEASURES:
            day[name] += row[name]
    return list(days.values())


def _totals(rows: Sequence[Row]) -> dict[str, int]:
    return {name: sum(row[name] for row in rows) for name in MEASURES}


def _told(row: Row) -> dict[str, Any]:
    return {
        "requests": row["requests"],
        **{name: row[name] for name in TOKENS},
        "total_tokens": _tokens(row),
        "cost": _cost(row),
        "unpriced_requests": row["unpriced"],
        "failed_requests": row["failed"],
        "cancelled_requests": row["cancelled"],
    }


def _tokens(row: Mapping[str, Any]) -> int:
    return row["input_tokens"] + row["cached_input_tokens"] + row["output_tokens"] + row["reasoning_tokens"]


def _cost(row: Mapping[str, Any]) -> Any:
    """None when no request in it has a known price: not knowing is not nothing."""
    unknown = row["requests"] > 0 and row["unpriced"] == row["requests"]
    return None if unknown else dollars(row["cost"])


def _instant(seconds: int) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
