"""What labels say about a scope: whether its hits may be told, are still on trial, or have proved wrong too often.

Pure. A label is a hit whose answer was asked of the model again. Wrong ones are watched by a test that may be
looked at after every label (an e-process, begun anew where it favours the cache): wrong answers that come close
together set the alarm off within two or three, and a false alarm costs nothing but hits.
"""

from collections import OrderedDict
from enum import IntEnum

from msgspec import Struct

from enginehouse.core.cache.semantic.edit import EditKind

__all__ = ["Level", "Monitor", "Watch"]

_STAKE = 5.0
"""How much the test bets on each label: it gains about this factor by a wrong one."""
_BAR = 20.0
"""Evidence at which the alarm goes; while no more is wrong than allowed, that is so many labels apart at least."""
_REST = 86_400.0
"""Seconds for which a scope is off."""
_MOST = 20_000
"""Scopes that are watched; of the longest unused nothing is known any more, and they begin anew."""


class Level(IntEnum):
    """What a scope may still do."""

    OPEN = 0
    STRICT = 1
    """Only questions of equal content are answered from others."""
    OFF = 2


class Watch(Struct):
    """One scope."""

    labels: int = 0
    wrong: int = 0
    evidence: float = 1.0
    level: Level = Level.OPEN
    since: float = 0.0
    """When it came to its level, in seconds."""

    def learn(self, wrong: bool, max_error: float, now: float) -> bool:
        """Take a label in; whether the alarm went."""
        self.labels += 1
        self.wrong += wrong
        self.evidence = max(1.0, self.evidence) * (1 + _STAKE * (wrong - max_error))
        if self.evidence < _BAR or self.level is Level.OFF:
            return False
        self.level, self.since, self.evidence = Level(self.level + 1), now, 1.0
        return True

    def rested(self, now: float) -> None:
        """After its rest a scope that was off is strict, and on trial anew."""
        if self.level is Level.OFF and now - self.since >= _REST:
            self.level, self.labels, self.wrong, self.evidence = Level.STRICT, 0, 0, 1.0


class Monitor:
    """All scopes, and all of them together.

    Args:
        trial: labels without a wrong one that a scope needs before it serves questions in other words.
    """

    def __init__(self, trial: int) -> None:
        self.trial = trial
        self.everyone = Watch()
        self._watches: OrderedDict[bytes, Watch] = OrderedDict()

    def level(self, scope: bytes, now: float) -> Level:
        """What a scope may do."""
        self.everyone.rested(now)
        watch = self._watches.get(scope)
        if watch is None:
            return self.everyone.level
        watch.rested(now)
        return max(watch.level, self.everyone.level)

    def on_trial(self, scope: bytes, kind: EditKind) -> bool:
        """Whether such a hit is only tried: equal content is served from the first day, the rest is earned."""
        if kind is EditKind.EQUAL:
            return False
        watch = self._watches.get(scope)
        return watch is None or watch.labels < self.trial

    def learn(self, scope: bytes, *, wrong: bool, max_error: float, now: float) -> bool:
        """Take a label in; whether an alarm went."""
        watch = self._watches.setdefault(scope, Watch())
        self._watches.move_to_end(scope)
        if len(self._watches) > _MOST:
            self._watches.popitem(last=False)
        together = self.everyone.learn(wrong, max_error, now)
        return watch.learn(wrong, max_error, now) or together

    def counts(self) -> dict[str, int]:
        """How many scopes are at which level below open."""
        levels = [watch.level for watch in self._watches.values()]
        return {"strict": levels.count(Level.STRICT), "off": levels.count(Level.OFF)}
