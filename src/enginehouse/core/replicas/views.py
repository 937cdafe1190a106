"""How models and lines are told: of the whole service, or of one replica whom a caller asks for."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from enginehouse.core.listing import Listed
from enginehouse.core.replicas.merging import together
from enginehouse.core.replicas.replicas import Replicas
from enginehouse.core.replicas.roster import Anew, Heard
from enginehouse.core.replicas.told import Line
from enginehouse.core.traces.pulse import Ended, Figures, Measured, Queues
from enginehouse.errors import NotFound
from enginehouse.residency.manager import ResidentStatus

__all__ = ["Views", "apart"]

_NOTHING: Mapping[str, Any] = MappingProxyType({})


class Views:
    """Of a service that may be one process, or one of several.

    Args:
        replicas: all of them; None when this process is alone.
    """

    def __init__(self, replicas: Replicas | None = None) -> None:
        self.replicas = replicas

    def chosen(self, replica: str | None) -> str | None:
        """The id of the one whom a caller asks for; None for the whole.

        Args:
            replica: an id, or `self` for the one that answers.

        Raises:
            NotFound: there is none of this name.
        """
        if not replica:
            return None
        if self.replicas is not None:
            return self.replicas.check(replica)
        if replica != "self":
            raise NotFound(f"There is no replica {replica!r}: this service is one process.")
        return None

    def model(self, own: ResidentStatus, only: str | None) -> tuple[ResidentStatus, Mapping[str, ResidentStatus]]:
        """How a model stands, and how it does at each replica where there are several.

        Args:
            own: how it stands here.
            only: the replica that is asked for.
        """
        if self.replicas is None:
            return own, {}
        parts = self.replicas.roster.statuses(own)
        return (parts.get(only, own), {}) if only else (together(list(parts.values())), parts)

    def line(self, model: str, own: Line, only: str | None) -> tuple[Line, Mapping[str, Line]]:
        """A model's line, and those that it is put together from.

        Args:
            own: as it is here.
            only: the replica that is asked for; a shared line is that of all whoever is.
        """
        if self.replicas is None:
            return own, {}
        line, parts = self.replicas.roster.line(model, own)
        return (parts.get(only, line), {}) if only else (line, parts)


def apart(event: Any, only: str | None) -> tuple[Any, str | None, Mapping[str, Any]]:
    """What happened, at which replica, and the same by replica where it is put together from all.

    Args:
        event: as a stream has it, of all replicas or of this process.
        only: the replica that is asked for; of what is no news of that one there is nothing left, and None is told.
    """
    if not isinstance(event, Heard):
        return event, None, _NOTHING
    told, replica = event.event, event.replica
    if only is None or isinstance(told, Anew):
        return told, replica, event.parts
    match told:
        case Measured():
            return _measured(event.parts.get(only)), only, _NOTHING
        case Queues(by_model=lines):
            return Queues({name: event.parts[name].get(only, line) for name, line in lines.items()}), only, _NOTHING
        case Ended():
            return (told if replica == only else None), only, _NOTHING
        case _:
            return _changed(event, only), only, _NOTHING


def _measured(figures: Figures | None) -> Measured | None:
    return None if figures is None else Measured(figures)


def _changed(event: Heard, only: str) -> ResidentStatus | Listed | None:
    if event.replica != only:
        return None
    status: ResidentStatus = event.parts[only]
    return Listed(change=event.event.change, status=status) if isinstance(event.event, Listed) else status
