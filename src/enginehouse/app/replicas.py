"""All replicas as one service, where the settings name what they share."""

import socket
from collections.abc import Iterator

from enginehouse.app.rooms import Rooms
from enginehouse.core.replicas import Replicas
from enginehouse.core.traces.pulse import Pulse
from enginehouse.residency.manager import ResidentStatus
from enginehouse.stores.kv import RedisChronicle

__all__ = ["replicas_of"]


def replicas_of(rooms: Rooms, pulse: Pulse) -> Replicas | None:
    """This one among them; None without a Redis."""
    on = rooms.ground
    if on.store is None:
        return None

    def models() -> Iterator[ResidentStatus]:
        return (rooms.copies.status(model) for model in on.catalogue.models())

    return Replicas(
        on.presence.id,
        socket.gethostname(),
        pulse.events,
        models,
        pulse.counted,
        RedisChronicle(on.store, "events"),
    )
