"""Differences between two questions that rule the answer of the one out for the other, however near they are."""

from collections import defaultdict
from collections.abc import Callable
from enum import StrEnum
from itertools import combinations

from enginehouse.core.cache.semantic.edit import Edit, EditKind
from enginehouse.core.cache.semantic.lexicon import all_with_same_meaning, any_opposite, opposite, same_meaning
from enginehouse.core.cache.semantic.signature import Signature

__all__ = ["Veto", "vetoes"]

_Directions = frozenset[tuple[str, str]]
"""Words of direction, and what they point at."""


class Veto(StrEnum):
    """What differs."""

    NUMBERS = "numbers"
    """Numbers, dates, times, units or money."""
    SPANS = "spans"
    """Ids, addresses, quoted strings or code."""
    NEGATION = "negation"
    ANTONYM = "antonym"
    """A word became its opposite."""
    NAMES = "names"
    DIRECTION = "direction"
    """From and to, before and after, in and out changed places."""
    COMPARISON = "comparison"
    QUESTION = "question"
    """Another class of question: when for where, how for whether."""
    MOOD = "mood"
    """What one may for what one must, what was for what is or will be."""
    PERSONS = "persons"
    """Mine for yours, or I and you changed places."""
    VOICE = "voice"
    """Who does something for whom it is done to: `am I charged`, `do I charge`."""
    LANGUAGE = "language"
    MINIMAL_EDIT = "minimal_edit"
    """Equal but for a word or two that are not known to mean the same."""


def vetoes(stored: Signature, asked: Signature, edit: Edit) -> tuple[Veto, ...]:
    """Every difference that rules a stored answer out, in the order of the list above."""
    return tuple(veto for veto, differs in _RULES.items() if differs(stored, asked, edit))


def _numbers(stored: Signature, asked: Signature, _: Edit) -> bool:
    return stored.quantities != asked.quantities


def _spans(stored: Signature, asked: Signature, _: Edit) -> bool:
    return stored.spans != asked.spans


def _negation(stored: Signature, asked: Signature, _: Edit) -> bool:
    return stored.negations % 2 != asked.negations % 2


def _antonym(_: Signature, __: Signature, edit: Edit) -> bool:
    won = frozenset(edit.won)
    return any(any_opposite(one, won) for one in {*edit.lost})


def _names(stored: Signature, asked: Signature, _: Edit) -> bool:
    """Both hold a name that is nowhere in the other."""
    return not _holds_all(asked, stored.names) and not _holds_all(stored, asked.names)


def _holds_all(signature: Signature, names: tuple[str, ...]) -> bool:
    content = frozenset(signature.content)
    return all(name in content or all_with_same_meaning(name, content) for name in names)


def _direction(stored: Signature, asked: Signature, _: Edit) -> bool:
    lost, won = set(stored.particles) - set(asked.particles), set(asked.particles) - set(stored.particles)
    if any(opposite(one, other) for one in lost for other in won):
        return True
    if len(stored.content) == 1 and lost and won:
        return True  # `is the oven on`, `is it in the oven`: nothing else tells them apart
    mine, theirs = frozenset(stored.directions), frozenset(asked.directions)
    return _swapped(stored, asked) or _crossed(mine, theirs) or _related(mine, theirs)


def _swapped(stored: Signature, asked: Signature) -> bool:
    """A direction word points at what the other sentence holds elsewhere, on both sides."""
    return not _moved(stored, asked).isdisjoint(_moved(asked, stored))


def _moved(one: Signature, other: Signature) -> set[str]:
    """Direction words of the one that point at what the other holds, but not behind the same word."""
    content = frozenset(other.content)
    return {word for word, target in {*one.directions} - {*other.directions} if target in content}


def _crossed(mine: _Directions, theirs: _Directions) -> bool:
    """What was from is now to."""
    words = {word for word, _ in mine}
    opposites = [(word, other) for word, other in _PAIRS if {word, other} <= words]
    return any(
        (other, target) in theirs and (word, target) not in theirs
        for word, other in opposites
        for pointed, target in mine
        if pointed == word
    )


def _related(mine: _Directions, theirs: _Directions) -> bool:
    """What was by somebody is now about them."""
    others: defaultdict[str, list[str]] = defaultdict(list)
    for other, target in theirs:
        if (other, target) not in mine:
            others[target].append(other)
    return any(
        word != other and not {word, other}.isdisjoint(_TELLING)
        for word, target in mine - theirs
        for other in others.get(target, ())
    )


_TELLING = frozenset(("by", "about", "against"))
_PAIRS = (
    ("from", "to"),
    ("to", "from"),
    ("from", "into"),
    ("into", "from"),
    ("before", "after"),
    ("after", "before"),
)


def _comparison(stored: Signature, asked: Signature, _: Edit) -> bool:
    """Each compares; and one with a word for which the other has no equal."""
    mine = [word for word in stored.comparisons if not _among(word, asked.comparisons)]
    theirs = [word for word in asked.comparisons if not _among(word, stored.comparisons)]
    return bool(mine and theirs)


def _among(word: str, others: tuple[str, ...]) -> bool:
    return word in others or any(same_meaning(word, other) for other in others)


_LIKE: dict[str, frozenset[str]] = {
    "what is": frozenset(("when", "who", "how much", "how long", "how many", "how often", "how far", "what")),
    "other": frozenset(("what is",)),
}
"""Classes that may ask the same in other words: `what is the deadline` and `when is the deadline`."""


def _question(stored: Signature, asked: Signature, _: Edit) -> bool:
    one, other = stored.question, asked.question
    return one != other and other not in _LIKE.get(one, ()) and one not in _LIKE.get(other, ())


def _mood(stored: Signature, asked: Signature, _: Edit) -> bool:
    return any(_either(stored.mood, asked.mood, *pair) for pair in ("an", "pf", "pc"))


def _persons(stored: Signature, asked: Signature, _: Edit) -> bool:
    """Another one is spoken of, or the same two the other way round: `can I call you`, `can you call me`."""
    one, other = stored.persons, asked.persons
    turned = [letter for letter in one if letter in other] != [letter for letter in other if letter in one]
    return turned or any(_either(one, other, *pair) for pair in combinations("iyhst", 2))


def _voice(stored: Signature, asked: Signature, _: Edit) -> bool:
    return _suffers(stored, asked) or _suffers(asked, stored)


def _suffers(one: Signature, other: Signature) -> bool:
    """What is done to somebody in the one, somebody does in the other; by whom may be all that tells it."""
    if not one.passives:
        return False
    if not other.participles or any(stem in other.content for stem in {*one.passives} - {*other.participles}):
        return True
    agents = [target for word, target in one.directions if word == "by"]
    return not other.passives and any(agent in other.content for agent in agents)


def _either(one: str, other: str, a: str, b: str) -> bool:
    """The one has only the first letter of two, the other only the second."""
    mine, theirs = {a, b} & set(one), {a, b} & set(other)
    return len(mine) == len(theirs) == 1 and mine != theirs


def _language(stored: Signature, asked: Signature, _: Edit) -> bool:
    return bool(stored.language and asked.language) and stored.language != asked.language


def _minimal_edit(_: Signature, __: Signature, edit: Edit) -> bool:
    return edit.kind is EditKind.MINIMAL


_RULES: dict[Veto, Callable[[Signature, Signature, Edit], bool]] = {
    Veto.NUMBERS: _numbers,
    Veto.SPANS: _spans,
    Veto.NEGATION: _negation,
    Veto.ANTONYM: _antonym,
    Veto.NAMES: _names,
    Veto.DIRECTION: _direction,
    Veto.COMPARISON: _comparison,
    Veto.QUESTION: _question,
    Veto.MOOD: _mood,
    Veto.PERSONS: _persons,
    Veto.VOICE: _voice,
    Veto.LANGUAGE: _language,
    Veto.MINIMAL_EDIT: _minimal_edit,
}
