"""How long an answer to the very same question counts.

To read what a question is about takes longer than all else that is done to keep its answer, and most questions are
not asked again: it is left to who finds an answer that would be too old if its question were about now.
"""

from collections.abc import Callable

from enginehouse.core.cache import rules
from enginehouse.core.cache.types import Entry
from enginehouse.settings.schema import CacheSettings

__all__ = ["Freshness"]

_MOST_LASTING = 10_000
"""Questions of which it is remembered that they are not about now."""


class Freshness:
    """Knows it by the settings' times.

    Args:
        settings: `exact_ttl` and `volatile_ttl`.
    """

    def __init__(self, settings: CacheSettings) -> None:
        self._lasting: set[bytes] = set()
        """Keys of such questions."""
        self.adopt(settings)

    def adopt(self, settings: CacheSettings) -> None:
        """New times count for the answers of questions from now on."""
        self._long, self._short = settings.exact_ttl, settings.volatile_ttl

    def until(self, at: float) -> tuple[float, float | None]:
        """`Entry.expires` and `timely` of an answer to a question of that time."""
        return at + self._long, at + self._short if self._short < self._long else None

    def holds(self, entry: Entry, at: float, words: Callable[[], str | None]) -> bool:
        """Whether it is young enough at that time.

        Args:
            words: those of the question's last turn, asked for when they matter.
        """
        if entry.expires <= at:
            return False
        return entry.timely is None or entry.timely > at or self._lasts(entry.key, words)

    def _lasts(self, key: bytes, words: Callable[[], str | None]) -> bool:
        """Whether the question with this key is not about now."""
        if key in self._lasting:
            return True
        asked = words()
        if asked is not None and rules.volatile(asked):
            return False
        if len(self._lasting) >= _MOST_LASTING:
            self._lasting.clear()
        self._lasting.add(key)
        return True
