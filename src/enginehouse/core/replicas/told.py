"""What replicas tell each other of themselves, and how it is written."""

from collections.abc import Mapping
from decimal import Decimal
from typing import Any, TypeAlias

import msgspec
from msgspec import Struct, structs

from enginehouse.core.listing import Listed, What
from enginehouse.core.traces.pulse import Ended, Figures, Window
from enginehouse.core.traces.tally import Overall
from enginehouse.residency.manager import ResidentStatus

__all__ = ["Beat", "Changed", "Line", "Parted", "Said", "decode", "encode"]

Line: TypeAlias = Mapping[str, Any]
"""One model's line, as `/v1/queue/stats` tells it."""


class Beat(Struct, frozen=True, kw_only=True, tag="beat", omit_defaults=True):
    """A second has passed."""

    replica: str
    number: int
    """Of what this replica has told."""
    host: str
    """Where it runs: replicas of one machine share its memory."""
    started: float
    """When it did, in seconds since 1970."""
    figures: Figures
    """Its own, without money."""
    window: Window
    cost: Decimal
    cost_today: Decimal | None = None
    lines: Mapping[str, Line] = {}
    """Those that have moved since it last told of them."""
    models: Mapping[str, ResidentStatus] | None = None
    """All that are not simply off; None when nothing has changed."""
    ended: Ended | None = None
    counted: Overall
    """Since its start; of models only those that have been asked since it last told of them."""


class Changed(Struct, frozen=True, kw_only=True, tag="changed", omit_defaults=True):
    """A model has another state there, or the list has."""

    replica: str
    number: int
    status: ResidentStatus
    change: What | None = None

    @property
    def update(self) -> ResidentStatus | Listed:
        """In the words of the status stream."""
        return self.status if self.change is None else Listed(change=self.change, status=self.status)


class Parted(Struct, frozen=True, kw_only=True, tag="parted"):
    """It stops."""

    replica: str
    number: int


Said: TypeAlias = Beat | Changed | Parted

_encoder = msgspec.msgpack.Encoder()
_decoder: msgspec.msgpack.Decoder[Said] = msgspec.msgpack.Decoder(Said)


def encode(said: Said) -> bytes:
    """As bytes."""
    if isinstance(said, Beat):
        said = structs.replace(said, figures=_priced(said.figures, None, None))
    return _encoder.encode(said)


def decode(text: bytes) -> Said:
    """From bytes.

    Raises:
        MsgspecError: another version wrote it, in other words.
    """
    said = _decoder.decode(text)
    if isinstance(said, Beat):
        return structs.replace(said, figures=_priced(said.figures, said.cost, said.cost_today))
    return said


def _priced(figures: Figures, cost: Decimal | None, today: Decimal | None) -> Figures:
    """Figures are written without a schema, which would not know money from a number."""
    return {**figures, "totals": {**figures["totals"], "cost": cost}, "cost_today": today}
