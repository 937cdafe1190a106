"""Questions about usage, asked of the sums and of what is not summed up yet, in one statement.

So that every answer is exact at every instant. The statements are texts, made once for each form of question:
SQLAlchemy would take as long to say them anew each time as the database takes to answer.
"""

from collections.abc import Iterator, Sequence
from functools import cache
from itertools import pairwise
from typing import Any, TypeAlias

from msgspec import Struct
from sqlalchemy import Connection, TextClause, func, select, text, union_all

from enginehouse.stores.sql.rollups import EACH, MEASURED, MEASURES, PERIODS, USES, VALUES
from enginehouse.stores.sql.usage import RECORDS, UNSUMMED, Row

__all__ = ["Span", "cover", "last_used", "spent", "sums"]

Span: TypeAlias = tuple[str, int, int]
"""A period's name, and the range of its starts, the end excluded."""

_NEVER = 60_000 * PERIODS["octave"]
"""A second after all others."""


def cover(start: int, end: int, *, widest: str = "octave") -> list[Span]:
    """The widest sums that make up [start, end) exactly: wide ones in the middle, narrow ones at its edges.

    Args:
        start: a full hour, in seconds since 1970.
        end: likewise.
        widest: the widest period that may be used.
    """
    names = list(PERIODS)[: list(PERIODS).index(widest) + 1]
    found: list[Span] = []
    for name, wider in pairwise(names):
        length = PERIODS[wider]
        first, last = -(-start // length) * length, end // length * length
        if first >= last:
            return [*found, (name, start, end)]
        found += [(name, a, b) for a, b in ((start, first), (last, end)) if a < b]
        start, end = first, last
    return [*found, (names[-1], start, end)]


def sums(
    connection: Connection,
    *,
    start: int,
    end: int,
    user: str,
    dimension: str,
    by: str,
    widest: str = "octave",
    operation: str | None = None,
    value: str | None = None,
) -> list[Row]:
    """Sums of all measures over [start, end), one row for each `by` (`value` or `start`), in its order.

    Args:
        start: a full hour, in seconds since 1970.
        end: likewise.
        widest: the widest period that may be used; starts are those of this and of narrower ones.
        user: whose usage; empty is everybody's.
        operation: only this one.
        value: only this one of the dimension.
    """
    spans = cover(start, end, widest="day" if user and widest == "octave" else widest)
    form = _Form(
        periods=tuple(period for period, _, _ in spans),
        dimension=dimension,
        by=by,
        of_user=bool(user),
        of_operation=operation is not None,
        of_value=value is not None,
    )
    given = {"user": user, "dimension": dimension, "operation": operation, "value": value}
    asked = {name: only for name, only in given.items() if only is not None}
    edges = {
        f"{edge}{n}": second for n, (_, *both) in enumerate(spans) for edge, second in zip("ab", both, strict=True)
    }
    times = {"first": start * 1_000_000, "past": end * 1_000_000}
    rows = connection.execute(_question(connection.dialect.name, form), {**asked, **edges, **times}).all()
    names = (by, *MEASURES)
    return [_row(names, values) for values in rows]


def spent(connection: Connection, *, user: str, dimension: str, value: str, start: int) -> int:
    """Picodollars that were spent since the beginning of a day."""
    rows = sums(connection, start=start, end=_NEVER, user=user, dimension=dimension, by="value", value=value)
    return sum(row["cost"] for row in rows)


def last_used(connection: Connection) -> dict[str, int]:
    """Key → when its last request came, in seconds since 1970; keys that never asked are not there."""
    waiting = select(RECORDS.c.key_id, (RECORDS.c.time // 1_000_000).label("used")).where(
        RECORDS.c.id.in_(select(UNSUMMED.c.record_id))
    )
    every = union_all(select(USES.c.key_id, USES.c.used), waiting.where(RECORDS.c.key_id != "")).subquery()
    rows = connection.execute(select(every.c.key_id, func.max(every.c.used)).group_by(every.c.key_id))
    return {key: int(used) for key, used in rows}


def _row(names: Sequence[str], values: Sequence[Any]) -> Row:
    row = dict(zip(names, values, strict=True))
    row["cost"] = int(row["cost"])  # PostgreSQL's is a number of any length
    return row


class _Form(Struct, frozen=True, kw_only=True):
    """All that one question's text has of its own."""

    periods: tuple[str, ...]
    dimension: str
    by: str
    of_user: bool
    of_operation: bool
    of_value: bool


@cache
def _question(dialect: str, form: _Form) -> TextClause:
    parts = [*_cells(form), _waiting(EACH[dialect], form)]
    measures = ", ".join(map(_sum_of, MEASURES))
    return text(
        f"SELECT {form.by}, {measures} FROM ({' UNION ALL '.join(parts)}) AS every "  # noqa: S608 - names only
        f"GROUP BY {form.by} ORDER BY {form.by}"
    )


def _sum_of(measure: str) -> str:
    """PostgreSQL sums up 64 bits as a number of any length, which is slow to send; only money may need that."""
    return f"sum({measure})" if measure == "cost" else f"CAST(sum({measure}) AS BIGINT)"


def _cells(form: _Form) -> Iterator[str]:
    """What is summed up, one part for each span."""
    columns = ", ".join(("start", "value", *MEASURES))
    for number, period in enumerate(form.periods):
        wanted = [f"period = '{period}'", "user_id = :user", "dimension = :dimension"]
        wanted += [f"start >= :a{number}", f"start < :b{number}"]
        wanted += _only(form, "value", "operation")
        yield f"SELECT {columns} FROM usage_rollups WHERE {' AND '.join(wanted)}"  # noqa: S608 - names only


def _waiting(each: str, form: _Form) -> str:
    """Records that are not summed up yet, each as a cell of its hour."""
    source, value = "usage_records AS r", "''"
    # Not a join: of a table that is empty most of the time SQLite believes that it is long, and reads all records.
    wanted = ["r.id IN (SELECT record_id FROM usage_unsummed)", "r.time >= :first", "r.time < :past"]
    if form.of_user:
        wanted.append("r.user_id = :user")
    if form.dimension == "tag":
        source, value = f"{source} CROSS JOIN {each.format('r.tags', 'tag')}", "tag.value"
    elif form.dimension in VALUES:
        value = f"r.{VALUES[form.dimension]}"
        wanted.append(f"{value} <> ''")
    wanted += _only(form, value, "r.operation")
    measured = ", ".join(MEASURED.values())
    hour = "r.time / 3600000000 * 3600"
    return f"SELECT {hour}, {value}, {measured} FROM {source} WHERE {' AND '.join(wanted)}"  # noqa: S608 - names only


def _only(form: _Form, value: str, operation: str) -> Sequence[str]:
    wanted = ((form.of_value, f"{value} = :value"), (form.of_operation, f"{operation} = :operation"))
    return [condition for wants, condition in wanted if wants]
