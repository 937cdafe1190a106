"""The words of the cache: what is kept, within which bounds it may be found, and why it was served or not.

Who decides whether two questions mean the same keeps vectors and signatures by an entry's id, and nothing else; the
entry with its answer is kept once, by the store of answers.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Protocol, TypeAlias

from msgspec import Struct

from enginehouse.types.cached import Entry

__all__ = ["Candidate", "Entry", "Explanation", "Match", "Meaning", "Scope"]

Scope: TypeAlias = bytes
"""Keyed digest, 16 bytes, of all that has to be equal: entries of one scope never answer questions of another."""


class Candidate(Struct, frozen=True, kw_only=True):
    """An entry that was near enough to be looked at."""

    entry: str
    similarity: float
    """Cosine of the two questions."""
    probability: float | None = None
    """That its answer is wrong here; None when a veto came first."""
    vetoes: tuple[str, ...] = ()
    """Kinds of differences that rule it out, such as `numbers` or `negation`."""


class Explanation(Struct, frozen=True, kw_only=True):
    """Why a question was answered from the cache, or was not."""

    candidates: tuple[Candidate, ...] = ()
    """The nearest first."""
    threshold: float | None = None
    """Probability of being wrong under which one is served; None when nothing may be served yet."""
    shadow: bool = False
    """Whether one would have been served, were this scope beyond its trial."""
    reason: str = ""
    """In words, where the figures do not say it."""


class Match(Struct, frozen=True, kw_only=True):
    """An entry whose answer may be served."""

    entry: str
    """Its id."""
    probability: float
    """That its answer is wrong."""
    serve: bool = True
    """False on trial (shadow mode) and in an audit: the model is asked all the same, and `learn` hears both."""
    explanation: Explanation = Explanation()


class Meaning(Protocol):
    """Decides whether a stored question means the same as one that is asked: `core.cache.semantic`.

    It keeps questions by their entries' ids; who calls it holds the entries. Nothing it does may hold up an answer:
    its failures are misses.
    """

    async def find(
        self, scope: Scope, question: str, *, max_error: float | None = None, without: frozenset[str] = frozenset()
    ) -> Match | None:
        """The entry that may be served, or one on trial.

        Args:
            question: words of the last user turn.
            max_error: most P(wrong | hit) the caller takes, where it wants less than the settings allow.
            without: entries that were judged wrong for this very question.
        """
        ...

    async def put(self, scope: Scope, question: str, entry_id: str, *, answer: str = "") -> None:
        """Remember a question by its entry's id.

        Args:
            answer: what was said to it; another question that asks for more may be answered by that, too.
        """
        ...

    async def forget(self, entry_ids: Sequence[str]) -> None:
        """These entries are gone; unknown ids are nothing."""
        ...

    async def learn(self, scope: Scope, question: str, entry_id: str, *, kept: str, fresh: str) -> None:
        """What the model says now (`fresh`) to a question that would have been answered from an entry (`kept`)."""
        ...

    async def explain(self, scope: Scope, question: str, *, without: frozenset[str] = frozenset()) -> Explanation:
        """What `find` would look at now and why it would serve one of them or none; it changes nothing.

        Args:
            without: entries that are left out, such as the question's own, which came later.
        """
        ...

    def stats(self) -> Mapping[str, Any]:
        """Counters for `semantic` in `GET /v1/cache/stats`: shadow hits, vetoes by kind, audited, wrong."""
        ...
