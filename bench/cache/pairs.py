"""Pairs of questions with the truth about them: paraphrases that share an answer, traps that do not."""

import hashlib
import random
import re
from collections.abc import Callable, Iterator
from itertools import product

from msgspec import Struct

from bench.cache.intents import INTENTS, Intent

__all__ = ["Meaning", "Pair", "generate", "halves", "meanings", "surface"]

_SLOT = re.compile(r"{(\w+)}")
_TYPED_WRONG = 4
"""Letters a word has at least that is typed wrong."""


class Pair(Struct, frozen=True):
    """A stored question, one that is asked, and whether the stored one's answer is right for it."""

    stored: str
    asked: str
    same: bool
    kind: str
    """Where it comes from."""
    answer: str = ""
    """What the stored question was answered with."""


class Meaning(Struct, frozen=True):
    """One thing that can be asked: an intent with its slots filled."""

    intent: int
    ways: tuple[str, ...]
    values: tuple[tuple[str, str], ...]

    @property
    def key(self) -> str:
        """Equal for two questions exactly when one answer is right for both."""
        return f"{self.intent}|{self.ways[0]}|{self.values}"


def halves(name: str) -> bool:
    """Whether something is for calibration (else it is kept for the report): a fixed hash decides, for ever."""
    return hashlib.sha256(name.encode()).digest()[0] < 128


def meanings(*, calibration: bool) -> list[Meaning]:
    """All that is asked in one half of the intents, the traps that have their own answer too."""
    return [
        meaning
        for number, intent in enumerate(INTENTS)
        if halves(intent.ways[0]) == calibration
        for meaning in dict.fromkeys(_filled(number, intent))
    ]


def _filled(number: int, intent: Intent) -> Iterator[Meaning]:
    for choice in product(*intent.slots.values()):
        if len(set(choice)) == len(choice):
            values = tuple(zip(intent.slots, choice, strict=True))
            for ways in (intent.ways, *((other,) for other in intent.others)):
                yield Meaning(number, ways, tuple(value for value in values if f"{{{value[0]}}}" in ways[0]))


def surface(meaning: Meaning, chance: random.Random) -> str:
    """One way in which somebody may ask for it."""
    text = chance.choice(meaning.ways)
    for slot, value in meaning.values:
        text = text.replace(f"{{{slot}}}", chance.choice(value.split("=")))
    for _ in range(chance.choice((0, 0, 1, 1, 2))):
        text = chance.choice(_NOISES)(text, chance)
    return text


def generate(count: int, *, calibration: bool, seed: int) -> list[Pair]:
    """Random pairs out of one half, every second one a trap."""
    chance = random.Random(seed)
    near = _by_intent(meanings(calibration=calibration))
    pairs: list[Pair] = []
    while len(pairs) < count:
        group = chance.choice(near)
        stored = chance.choice(group)
        same = len(pairs) % 2 == 0
        asked = stored if same else _neighbour(stored, group, chance)
        if asked is None:
            continue
        one, other = surface(stored, chance), surface(asked, chance)
        if one != other:
            kind = "paraphrase" if same else _difference(stored, asked)
            pairs.append(Pair(one, other, same, kind, answer=surface(stored, chance)))
    return pairs


def _by_intent(all_of_them: list[Meaning]) -> list[list[Meaning]]:
    groups: dict[int, list[Meaning]] = {}
    for meaning in all_of_them:
        groups.setdefault(meaning.intent, []).append(meaning)
    return list(groups.values())


def _neighbour(stored: Meaning, group: list[Meaning], chance: random.Random) -> Meaning | None:
    """Another thing to ask: one slot differs, two slots changed places, or the question itself is another."""
    kind = chance.choice(("slot", "swapped", "question"))
    near = [other for other in group if other.key != stored.key and _difference(stored, other) == kind]
    return chance.choice(near) if near else None


def _difference(one: Meaning, other: Meaning) -> str:
    mine, theirs = [value for _, value in one.values], [value for _, value in other.values]
    if one.ways != other.ways:
        shared = dict(one.values).keys() & dict(other.values).keys()
        return "question" if all(dict(one.values)[slot] == dict(other.values)[slot] for slot in shared) else "far"
    if sorted(mine) == sorted(theirs):
        return "swapped"
    return "slot" if sum(a != b for a, b in zip(mine, theirs, strict=True)) == 1 else "far"


def _small(text: str, _: random.Random) -> str:
    return text.lower().rstrip("?.")


def _loud(text: str, _: random.Random) -> str:
    return text.upper()


def _polite(text: str, chance: random.Random) -> str:
    before = chance.choice(
        ("Hi, ", "Hello there, ", "Hey team, ", "Please, ", "Quick question: ", "Excuse me, ", "um so ")
    )
    after = chance.choice((" please", ", thanks", " Thank you!", "", ""))
    return f"{before}{text[0].lower() if text[1:2].islower() else text[0]}{text[1:].rstrip('?.')}{after}"


def _sloppy(text: str, chance: random.Random) -> str:
    """Two letters of one small word change places."""
    words = text.split(" ")
    long = [n for n, word in enumerate(words) if word.isalpha() and word.islower() and len(word) > _TYPED_WRONG]
    if long:
        place = chance.choice(long)
        word = words[place]
        at = chance.randrange(1, len(word) - 2)
        words[place] = f"{word[:at]}{word[at + 1]}{word[at]}{word[at + 2 :]}"
    return " ".join(words)


def _spaced(text: str, _: random.Random) -> str:
    return "  " + text.replace(" ", "  ", 2) + " "


_NOISES: tuple[Callable[[str, random.Random], str], ...] = (_small, _loud, _polite, _polite, _sloppy, _spaced)
