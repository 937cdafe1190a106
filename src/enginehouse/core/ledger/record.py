"""What is kept of one request: who asked whom for what, how it ended, and what it cost."""

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import UTC, datetime
from decimal import Decimal
from operator import attrgetter
from typing import Any, cast

import msgspec
from msgspec import Struct, defstruct
from msgspec.structs import astuple, fields

from enginehouse.types import Usage
from enginehouse.types.ids import random_hex

__all__ = [
    "FREE",
    "MOST_MONEY",
    "PICODOLLARS",
    "Money",
    "PriceRow",
    "UsageRecord",
    "clean",
    "clean_tags",
    "cleaned",
    "columns_of",
    "day_of",
    "dollars",
    "first_id",
    "from_line",
    "from_row",
    "id_at",
    "line_of",
    "named",
    "new_id",
    "record_in_order",
    "sane_usage",
]

MOST_MONEY = 10**18
"""Picodollars that are the most anything costs: what a database can hold."""
PICODOLLARS = 10**12
"""Picodollars in a dollar: every list price is a whole number of them for each token, so that sums are exact."""
_MOST_TOKENS = 10**9
_LONGEST = 512


class PriceRow(Struct, frozen=True, kw_only=True, gc=False):
    """A price as it was when somebody paid it; decimal strings in US dollars, None is not charged for."""

    id: str
    """Digest of all else, so that the same price is one row."""
    model: str
    source: str
    """Where it is from: `settings`, `settings prices`, or the list's name, version and entry."""
    since: str = ""
    """First day, ISO, if it has one."""
    input_per_1k: str | None = None
    cached_input_per_1k: str | None = None
    output_per_1k: str | None = None
    per_hour: str | None = None


class Money(Struct, frozen=True, kw_only=True, gc=False):
    """What a request cost, in picodollars that a database can hold; `total` also holds what was charged by time."""

    input: int
    output: int
    total: int
    price: PriceRow | None
    """None for what is free by its nature: what no engine had to do."""


FREE = Money(input=0, output=0, total=0, price=None)


class UsageRecord(Struct, frozen=True, kw_only=True, gc=False, array_like=True, tag=1):
    """One request. Token columns are disjoint; costs are picodollars, None when the price is unknown.

    As JSON it is a list that begins with the form's number. Journals of an earlier version are read by the order of
    the fields: a new one comes last, with what it is where it is not said, or the form gets another number. Behind
    the first three they are in the order of the table's columns.
    """

    tags: tuple[str, ...] = ()
    price: PriceRow | None = None
    reserved: bool = False
    """Whether a budget holds something for it."""
    id: str
    """Ours, unique and in the order of time; writing the same id twice counts once."""
    request_id: str
    """The caller's or ours; a caller may use one twice."""
    time: int
    """Microseconds since 1970, UTC: when the request came."""
    user_id: str
    key_id: str = ""
    tenant: str = ""
    tier: str = ""
    model: str = ""
    """Our id of it; empty when the caller asked for one that is not there."""
    version: str = ""
    deployment: str = ""
    engine: str = ""
    provider: str = ""
    """Whose price list counts; empty for what runs here."""
    upstream_model: str = ""
    face: str = ""
    operation: str
    stream: bool = False
    outcome: str
    """`completed`, `cancelled` or `failed`."""
    error: str = ""
    """The code of what went wrong."""
    cache: str = ""
    """`exact` or `semantic` when the answer came from there."""
    input_tokens: int = 0
    cached_input_tokens: int = 0
    output_tokens: int = 0
    reasoning_tokens: int = 0
    estimated: bool = False
    """Whether we counted ourselves because the engine did not say."""
    input_cost: int | None = None
    output_cost: int | None = None
    cost: int | None = None
    slots: int = 1
    """Sequences the deployment ran at once: they share a price by the hour."""
    queue_us: int | None = None
    load_us: int | None = None
    ttft_us: int | None = None
    upstream_us: int | None = None
    """How long the engine had the request; None when it never did."""
    total_us: int = 0
    digest: str = ""
    """Keyed, of what was asked: equal where a tenant's requests are repeats; empty when it is not kept."""

    def charged(self, money: Money | None) -> "UsageRecord":
        """The same with its cost; None is an unknown price, which is not nothing."""
        if money is None:
            return msgspec.structs.replace(self, input_cost=None, output_cost=None, cost=None, price=None)
        return msgspec.structs.replace(
            self,
            input_cost=money.input,
            output_cost=money.output,
            cost=money.total,
            price=money.price,
        )


record_in_order = cast(
    "Callable[..., UsageRecord]",
    defstruct(
        "_InOrder",
        [(one.name, one.type) for one in fields(UsageRecord)],
        bases=(UsageRecord,),
        frozen=True,
        gc=False,
        array_like=True,
        tag=1,
    ),
)
"""A record from all that it says, in the order of the fields: for who makes thousands a second."""

_NO_COLUMNS, _WHOSE = 3, 6
"""Fields that come first, and are no columns as they are; fields before those that say who asked for what."""
_TEXTS = tuple(name for name, kind in UsageRecord.__annotations__.items() if kind is str)
_texts_of = attrgetter(*_TEXTS)
_Named = defstruct(
    "_Named",
    [(one.name, one.type) if one.required else (one.name, one.type, one.default) for one in fields(UsageRecord)],
    kw_only=True,
)
"""The same with the names of its fields: the form that journals had before."""
_read = msgspec.json.Decoder(UsageRecord).decode
_read_named = msgspec.json.Decoder(_Named).decode

line_of = msgspec.json.Encoder().encode
"""A record as a line of the journal."""


def new_id(now: float | None = None) -> str:
    """A new id: the milliseconds since 1970 in 12 hex digits, and 20 random ones."""
    return id_at(time.time_ns() // 1000 if now is None else int(now * 1_000_000))


def id_at(microseconds: int) -> str:
    """A new id of a time since 1970, for who has looked at the clock already; the form is that of `new_id`."""
    return "%012x" % (microseconds // 1000) + random_hex(20)


def first_id(when: datetime) -> str:
    """What stands before every id of this time and later."""
    return f"{max(0, int(when.timestamp() * 1000)):012x}"


def from_line(line: bytes) -> UsageRecord:
    """The record that was made a line of, by this version or an earlier one.

    Raises:
        MsgspecError: it is none.
    """
    return UsageRecord(**msgspec.structs.asdict(_read_named(line))) if line.startswith(b"{") else _read(line)


def named(record: UsageRecord) -> bytes:
    """The record in JSON with the names of its fields, for people."""
    return msgspec.json.encode(msgspec.structs.asdict(record))


def columns_of(records: Sequence[UsageRecord]) -> list[Sequence[Any]]:
    """Records, of which there are some, column by column, in the order of `stores.sql.usage.COLUMNS`."""
    said = list(zip(*map(astuple, records), strict=True))
    tags = [msgspec.json.encode(record.tags).decode() if record.tags else "[]" for record in records]
    prices = [record.price and record.price.id for record in records]
    return [*said[_NO_COLUMNS:_WHOSE], tags, prices, *said[_WHOSE:]]


def cleaned(record: UsageRecord) -> UsageRecord:
    """The same with texts that every database takes, and each tag once."""
    given, tags = _texts_of(record), record.tags and clean_tags(record.tags)
    if tags == record.tags and _is_clean("".join(given)):
        return record
    texts = {name: clean(text) for name, text in zip(_TEXTS, given, strict=True)}
    return msgspec.structs.replace(record, **texts, tags=tags)


def clean(text: str) -> str:
    """A text that every database takes.

    PostgreSQL takes no NUL, and neither takes half a character; nobody needs more than half a kilobyte.
    """
    if _is_clean(text):
        return text
    return text[:_LONGEST].replace("\0", "\ufffd").encode("utf-8", "replace").decode()


def clean_tags(tags: Iterable[str]) -> tuple[str, ...]:
    """Tags that every database takes, each once and none empty."""
    return tuple(dict.fromkeys(clean(tag) for tag in tags if tag))


def from_row(row: Mapping[str, Any]) -> UsageRecord:
    """The record that was made a row of; its price is known by its id only."""
    given = {name: value for name, value in row.items() if name not in {"price_id", "tags"}}
    return UsageRecord(**given, tags=tuple(msgspec.json.decode(row["tags"], type=list[str])))


def sane_usage(usage: Usage) -> Usage:
    """Counts that a database can hold; what an engine reports beyond that is not to be believed, and marked so."""
    fresh, cached, output, reasoning = usage.input, usage.cached_input, usage.output, usage.reasoning
    total = fresh + cached + usage.cache_write + output + reasoning
    if fresh >= 0 and cached >= 0 and output >= 0 and reasoning >= 0 and total <= _MOST_TOKENS:
        return usage
    counts = {name: getattr(usage, name) for name in ("input", "cached_input", "output", "reasoning")}
    sane = {name: min(max(count, 0), _MOST_TOKENS) for name, count in counts.items()}
    return Usage(**sane, estimated=usage.estimated or sane != counts)


def dollars(picodollars: int | None) -> Decimal | None:
    """Money for people, exact."""
    return None if picodollars is None else Decimal(picodollars).scaleb(-12).normalize() + 0


def day_of(seconds: int) -> str:
    """The day in UTC, ISO."""
    return datetime.fromtimestamp(seconds, UTC).date().isoformat()


def _is_clean(text: str) -> bool:
    return len(text) <= _LONGEST and text.isascii() and text.isprintable()
