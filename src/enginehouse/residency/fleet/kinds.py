"""Nodes that are alike, indexed: which of them have room, and who there is worth least, without asking them all."""

from collections.abc import Iterable, Iterator, Sequence
from heapq import heappop, heappush
from typing import TypeAlias

from enginehouse.residency.fleet.heights import Heights, Row
from enginehouse.residency.fleet.nodes import AXES, Health, Held, Node, Reach, Yard, row_of

__all__ = ["Kind"]

_LOOKED_AT = 32
"""Most residents that one search for who leaves looks at."""

_Entry: TypeAlias = tuple[tuple[int, float, float, str], int, Held]


class Kind:
    """Nodes that are alike in their labels and in whether they have GPUs, indexed.

    Args:
        like: one of them.
    """

    def __init__(self, like: Node) -> None:
        self.labels = dict(like.labels)
        self.gpus = bool(like.gpus)
        self._yards: list[Yard | None] = []
        self._vacant: list[int] = []
        self._trees: dict[tuple[bool, Reach, int], Heights] = {}
        self._idle = {False: _Idle(), True: _Idle()}

    @property
    def size(self) -> int:
        """How many nodes there are."""
        return len(self._yards) - len(self._vacant)

    def says(self, labels: Iterable[tuple[str, str]]) -> bool:
        """Whether they have all of these labels."""
        return all(self.labels.get(name) == value for name, value in labels)

    def add(self, node: Node) -> Yard:
        """One more, with nobody on it."""
        place = self._vacant.pop() if self._vacant else len(self._yards)
        yard = Yard(node, place)
        self._yards[place : place + 1] = [yard]
        self.renew(yard)
        return yard

    def remove(self, yard: Yard) -> None:
        """It is no more."""
        self._yards[yard.place] = None
        self._vacant.append(yard.place)
        for tree in self._trees.values():
            tree.clear(yard.place)

    def renew(self, yard: Yard, changed: str | None = None) -> None:
        """A node has changed, and one of those on it may have."""
        for key, tree in self._trees.items():
            self._enter(key, tree, yard)
        if changed is not None:
            held = yard.held.get(changed)
            for utility, idle in self._idle.items():
                ours = held is not None and _is_idle(held) and _is_of(held, utility=utility)
                idle.put(changed, held if ours else None)

    def above(self, utility: bool, reach: Reach, rank: int, need: Row, lead: int) -> Iterator[Yard]:
        """Nodes where so much may be had, those with the most of the leading axis first."""
        key = (utility, reach, rank)
        if key not in self._trees:
            tree = self._trees[key] = Heights(AXES)
            for yard in filter(None, self._yards):
                self._enter(key, tree, yard)
        for place in self._trees[key].above(need, lead):
            if (yard := self._yards[place]) is not None:
                yield yard

    def least(self, utility: bool) -> Sequence[Held]:
        """Idle ones that are worth least, the least first; no more than are looked at."""
        return self._idle[utility].least(_LOOKED_AT)

    def _enter(self, key: tuple[bool, Reach, int], tree: Heights, yard: Yard) -> None:
        utility, reach, rank = key
        if yard.health is Health.ALIVE:
            tree.put(yard.place, row_of(yard.reachable(reach, rank), yard.node.gpus, utility=utility))
        else:
            tree.clear(yard.place)


class _Idle:
    """Those that may leave, the least worthy at hand: a heap in which what holds no more is passed over."""

    def __init__(self) -> None:
        self._heap: list[_Entry] = []
        self._current: dict[str, _Entry] = {}
        self._count = 0

    def put(self, deployment_id: str, held: Held | None) -> None:
        """How it is now; None when it may not leave, or has left."""
        self._current.pop(deployment_id, None)
        if held is not None:
            self._count += 1
            entry = self._current[deployment_id] = (held.worth, self._count, held)
            heappush(self._heap, entry)
        if len(self._heap) > 2 * len(self._current) + _LOOKED_AT:
            self._heap = sorted(self._current.values())

    def least(self, most: int) -> Sequence[Held]:
        found: list[_Entry] = []
        while self._heap and len(found) < most:
            entry = heappop(self._heap)
            if self._current.get(entry[2].standing.id) is entry:
                found.append(entry)
        for entry in found:
            heappush(self._heap, entry)
        return [held for _, _, held in found]


def _is_idle(held: Held) -> bool:
    one = held.standing
    return not (one.busy or one.pinned or one.leaving or one.loading)


def _is_of(held: Held, *, utility: bool) -> bool:
    return utility == any(axis.endswith(".utility") for axis in held.standing.size)
