"""What it cost, and who may spend how much."""

from datetime import date
from typing import Annotated, Literal

from pydantic import Field

from enginehouse.settings.schema.section import Section
from enginehouse.settings.values import (
    Dollars,
)

__all__ = ["BudgetSettings", "DatedPriceSettings", "LedgerSettings", "PriceSettings"]


class LedgerSettings(Section):
    """What is kept of who asked for what, and what it cost."""

    spool_max_bytes: Annotated[int, Field(gt=0)] = 1024 * 1024 * 1024
    """Bytes of usage records that may wait on the local disk while the database is away; beyond that requests are
    refused."""
    request_digests: bool = True
    """Whether each record keeps a keyed digest of what was asked, from which repeats can be told and nothing else;
    the report of savings wants it."""


class PriceSettings(Section):
    """What a model costs, in US dollars; a key left out is unknown, not free."""

    input_per_1k: Dollars | None = None
    """Dollars for a thousand input tokens, as a decimal string."""
    output_per_1k: Dollars | None = None
    """Dollars for a thousand output tokens, as a decimal string."""
    cached_input_per_1k: Dollars | None = None
    """Dollars for a thousand input tokens that the engine had already read; when left out, those of input."""
    per_hour: Dollars | None = None
    """Dollars for an hour of the engine's work, for models that cost time: the model's slots share it."""


class DatedPriceSettings(PriceSettings):
    """A price from a day on; it comes before the model's own `price` and before known providers' lists."""

    model: str
    """Id of the model."""
    since: date
    """First day, in UTC, on which it counts."""


class BudgetSettings(Section):
    """What may be spent in a period."""

    scope: Literal["user", "key", "tenant"]
    """Whose spending it limits."""
    id: str = "*"
    """Id of the user, key or tenant; `*` is each one that has no budget of its own for this period."""
    period: Literal["day", "month", "total"] = "month"
    """Time in which it may be spent; days and months are those of UTC."""
    dollars: Dollars
    """How much, as a decimal string."""
