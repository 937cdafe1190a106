"""Who there is, and how each of them stands, as far as the chronicle has told; all replicas that read it agree."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, TypeAlias

import msgspec
from msgspec import Struct

from enginehouse.core.listing import Listed
from enginehouse.core.replicas.merging import added, at_rest, figures_of, together
from enginehouse.core.replicas.told import Beat, Changed, Line, Parted, Said
from enginehouse.core.traces.pulse import Ended, Figures, Measured, Queues
from enginehouse.core.traces.tally import Overall
from enginehouse.core.traces.tally import added as added_up
from enginehouse.residency.manager import ResidentStatus
from enginehouse.types import ResidentState

__all__ = ["Anew", "Event", "Heard", "Roster"]

_SILENCE = 4000
"""Milliseconds after which a replica that says nothing has gone."""
_ENDED = ("served", "rejected", "timed_out", "left")
_encode = msgspec.json.Encoder(decimal_format="number").encode
_LATE = 2500
"""Milliseconds after which another one closes the second in its place."""


class Anew(Struct, frozen=True):
    """A replica has come or gone, or all others can be heard no more: everything is to be told once more."""


Event: TypeAlias = ResidentStatus | Listed | Ended | Queues | Measured | Anew


class Heard(Struct, frozen=True):
    """Something that has happened in the service."""

    event: Event
    """As the whole service tells it."""
    replica: str
    """Where it happened, or who told it."""
    parts: Mapping[str, Any] = {}
    """The same by replica, where it is put together from all."""


class _Replica(Struct):
    """One of them."""

    beat: Beat
    heard: int
    """When, in milliseconds."""
    models: dict[str, ResidentStatus] = {}
    lines: dict[str, Line] = {}
    """Those that are its own."""
    counted: Overall = Overall()


class Roster:
    """The fold of everything that was told. Nothing here waits.

    Args:
        own: this replica.
    """

    def __init__(self, own: str) -> None:
        self.own = own
        self.alone = True
        """Whether nobody else counts, because nobody else can be heard."""
        self._all: dict[str, _Replica] = {}
        self._shared: dict[str, Line] = {}
        """Lines that all stand in, as whoever asked last was told."""
        self._told: Mapping[str, Line] = {}

    # What is known -------------------------------------------------------------------------------------

    @property
    def living(self) -> list[str]:
        """Who counts, in the order in which they started."""
        known = self._all.keys() & {self.own} if self.alone else self._all
        return sorted(known, key=lambda id_: (self._all[id_].beat.started, id_))

    def figures(self, replica: str) -> Figures | None:
        """The newest of one replica."""
        known = self._all.get(replica)
        return None if known is None else known.beat.figures

    def counted(self, only: str | None) -> Overall:
        """What there was since the start, at all replicas or at one."""
        return added_up([self._all[id_].counted for id_ in self.living if only in (None, id_)])

    def statuses(self, own: ResidentStatus) -> dict[str, ResidentStatus]:
        """How a model stands at each replica, this one first.

        Args:
            own: how it stands here, now.
        """
        off = ResidentStatus(id=own.id, model=own.model, engine=own.engine, state=ResidentState.OFF)
        others = (id_ for id_ in self.living if id_ != self.own)
        return {self.own: own, **{id_: self._all[id_].models.get(own.model, off) for id_ in others}}

    def line(self, model: str, own: Line) -> tuple[Line, dict[str, Line]]:
        """One model's line, and the lines that it is put together from where each replica has its own.

        Args:
            own: as it is here, now.
        """
        if own["scope"] == "shared":
            return own, {}
        parts = {**self._lines(model), self.own: own}
        if len(parts) == 1:
            return own, {}
        return added(list(parts.values())), {id_: line for id_, line in parts.items() if id_}

    def forget_shared(self) -> None:
        """Shared lines may have begun anew."""
        self._shared.clear()

    # What is told --------------------------------------------------------------------------------------

    def take(self, said: Said, at: int) -> Sequence[Heard]:
        """Learn what was told, and say what that is to who watches the whole.

        Args:
            at: when it was told, in milliseconds; never less than before.
        """
        match said:
            case Beat():
                return tuple(self._beat(said, at))
            case Changed():
                return tuple(self._changed(said))
            case Parted(replica=replica):
                return (Heard(Anew(), replica),) if self._all.pop(replica, None) else ()

    def _beat(self, beat: Beat, at: int) -> Iterator[Heard]:
        others = set(self._all) - {beat.replica}
        gone = {id_ for id_ in others if not self.alone and at - self._all[id_].heard > _SILENCE}
        for id_ in gone:
            del self._all[id_]
        if beat.replica not in self._all or gone:
            yield Heard(Anew(), beat.replica)
        self._learn(beat, at)
        if beat.ended is not None:
            yield Heard(beat.ended, beat.replica)
        if beat.replica == self._teller(at):
            yield from self._second(beat)

    def _learn(self, beat: Beat, at: int) -> None:
        known = self._all.setdefault(beat.replica, _Replica(beat, at))
        known.beat, known.heard, known.counted = beat, at, known.counted.learnt(beat.counted)
        if beat.models is not None:
            known.models = dict(beat.models)
        for model, line in beat.lines.items():
            if line["scope"] == "shared":
                known.lines.pop(model, None)
                self._shared[model] = _later(self._shared.get(model), line)
            else:
                known.lines[model] = line

    def _teller(self, at: int) -> str | None:
        """Who closes the second: the first of those that have just spoken, so that it is closed once."""
        return next((id_ for id_ in self.living if at - self._all[id_].heard <= _LATE), None)

    def _second(self, beat: Beat) -> Iterator[Heard]:
        every = {model: self._lines(model) for model in self._models_with_lines()}
        lines = {model: added(list(parts.values())) for model, parts in every.items()}
        if lines != self._told:
            self._told = lines
            own = {model: {id_: one for id_, one in parts.items() if id_} for model, parts in every.items()}
            yield Heard(Queues(lines), beat.replica, own)
        beats = [self._all[id_].beat for id_ in self.living if id_ != beat.replica]
        names = {name for id_ in self.living for name in self._all[id_].models}
        models = [together(self._known(name)) for name in names]
        figures = figures_of([*beats, beat], lines, models)
        parts = {id_: msgspec.Raw(_encode(self._all[id_].beat.figures)) for id_ in self.living}
        yield Heard(Measured(figures), beat.replica, parts)

    def _changed(self, said: Changed) -> Iterator[Heard]:
        known = self._all.get(said.replica)
        if known is None:  # its first beat tells it
            return
        status = said.status
        off = ResidentStatus(id=status.id, model=status.model, engine=status.engine, state=ResidentState.OFF)
        parts = {id_: self._all[id_].models.get(status.model, off) for id_ in self.living} | {said.replica: status}
        known.models.pop(status.model, None)
        if not at_rest(status) and said.change != "removed":
            known.models[status.model] = status
        whole = together(list(parts.values()))
        event = whole if said.change is None else Listed(change=said.change, status=whole)
        yield Heard(event, said.replica, parts)

    def _models_with_lines(self) -> list[str]:
        shared = () if self.alone else self._shared
        return sorted({*shared, *(model for id_ in self.living for model in self._all[id_].lines)})

    def _lines(self, model: str) -> dict[str, Line]:
        """Each replica's own line by its id, and the one that is shared under no id."""
        parts = {id_: lines[model] for id_ in self.living if model in (lines := self._all[id_].lines)}
        return parts if self.alone or model not in self._shared else {"": self._shared[model], **parts}

    def _known(self, model: str) -> list[ResidentStatus]:
        return [status for id_ in self.living if (status := self._all[id_].models.get(model)) is not None]


def _later(one: Line | None, other: Line) -> Line:
    """The later of two pictures of a shared line, which need not be told in the order in which they were taken."""
    if one is None or sum(one[name] for name in _ENDED) <= sum(other[name] for name in _ENDED):
        return other
    return one
