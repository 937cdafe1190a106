"""What a question holds that an answer depends on, read once and kept with its entry.

Nothing here judges: `vetoes.py` and `edit.py` compare two signatures.
"""

import re
import unicodedata
from functools import lru_cache
from itertools import islice

from msgspec import Struct

from enginehouse.core.cache.semantic import words
from enginehouse.core.cache.semantic.lexicon import exists, stem
from enginehouse.core.cache.semantic.phrasing import expanded, framed, trimmed
from enginehouse.core.cache.semantic.quantities import find_quantities
from enginehouse.core.cache.semantic.spans import find_spans

__all__ = ["LONGEST", "Signature", "sign"]

LONGEST = 2000
"""Letters a question may have; a longer one is never answered by likeness."""
_MOST_MASKS = 512
"""Spans and quantities that are told apart in one text."""
_TITLE_CASE = 0.6
"""Part of a text's words with a capital from which capitals say nothing about names."""

_INVISIBLE = (*range(0x200B, 0x2010), *range(0x202A, 0x202F), *range(0x2060, 0x2065), 0xFEFF, 0xAD)
_QUOTES = dict(zip("\u2019\u2018\u201c\u201d\u00ab\u00bb\u2013\u2014", '\'\'""""--', strict=True))
_UNUSUAL = dict.fromkeys(map(chr, _INVISIBLE), "") | _QUOTES
_IS_UNUSUAL = re.compile(f"[{''.join(_UNUSUAL)}]")

_MASK_FIRST, _MASK_LAST = 0xE000, 0xE000 + _MOST_MASKS
_TOKENS = re.compile(rf"[{chr(_MASK_FIRST)}-{chr(_MASK_LAST)}]|[^\W_]+(?:'[^\W_]+)*|[.?!]|[+*/=^<>%&-]")
_FOREIGN = re.compile(r"[\u0370-\ud7ff\uf900-\U0010ffff]")
"""Letters of other scripts than ours, and signs beside them; marks are none."""
_CJK = re.compile(r"[぀-ヿ㐀-䶿一-鿿가-힯]")
_YES_NO = words.ABLE | frozenset(
    [
        "is",
        "are",
        "am",
        "was",
        "were",
        "do",
        "does",
        "did",
        "will",
        "would",
        "should",
        "shall",
        "must",
        "has",
        "have",
    ]
)
_BEGINNINGS = frozenset(("at", "by", "during", "for", "from", "if", "in", "on", "to", "with", "within", "when"))
"""Words that put a phrase before the question."""
_ENDS = frozenset(".?!")
_POINTERS = words.DIRECTIONS | words.RELATIONS
_OPERATORS = frozenset("+*/=^<>%&")


class Signature(Struct, frozen=True, array_like=True):
    """What two questions have to agree in.

    Stems are base forms in small letters; a quantity among the content begins with `#`, a span with `§`.
    """

    content: tuple[str, ...]
    """Stems of the words that carry content, with quantities and spans, as they follow each other."""
    quantities: tuple[str, ...]
    """Numbers, dates, times, money and shares, sorted."""
    spans: tuple[str, ...]
    """Ids, addresses, quoted strings and code, sorted."""
    names: tuple[str, ...]
    """Stems with a capital that the sentence did not ask for."""
    negations: int
    particles: tuple[str, ...]
    """Direction words that are there, sorted."""
    directions: tuple[tuple[str, str], ...]
    """Each word of direction or relation, and the content it points at."""
    comparisons: tuple[str, ...]
    question: str
    """Which class of question: how, who, when, …; `yes` for yes or no, `other` for none."""
    mood: str
    """Which of a(ble), n(eed), p(ast), f(uture) and c(urrent) it speaks of."""
    persons: str
    """Who is spoken of, in order: i, y(ou), h(e), s(he), t(hey)."""
    fronted: bool
    """Whether it begins with a phrase such as `on my phone`."""
    language: str
    """Two letters; empty where it cannot be told."""
    core: str
    """The question without greetings and thanks, in small letters: what is embedded."""
    participles: tuple[str, ...]
    """Stems of the content that stand there as participles: `charged`, `sold`."""
    passives: tuple[str, ...]
    """Those among them to whom something is done: `am I charged`, `get paid`."""


@lru_cache(maxsize=4096)
def sign(text: str) -> Signature | None:
    """The signature of a question; None for one that is too long, or holds no content at all."""
    if len(text) > LONGEST:
        return None
    plain = _plain(text)
    masked, spans = _mask_spans(plain)
    masked = trimmed(masked)
    core = _unmasked(masked, spans).casefold()
    counted, quantities = _mask_quantities(framed(masked), len(spans))
    reading = _Reading(expanded(counted), spans, quantities)
    if not reading.content:
        return None
    return reading.signature(core)


def _plain(text: str) -> str:
    """One way of writing: no invisible letters, plain quotes, single spaces."""
    if not text.isascii():
        text = _IS_UNUSUAL.sub(lambda match: _UNUSUAL[match[0]], unicodedata.normalize("NFKC", text))
    return " ".join(text.split())


def _mask_spans(text: str) -> tuple[str, list[str]]:
    """The text with a mark for every span that is read letter by letter."""
    spans: list[str] = []
    pieces: list[str] = []
    end = 0
    for begin, stop in islice(find_spans(text), _MOST_MASKS // 2):
        pieces += text[end:begin], chr(_MASK_FIRST + len(spans))
        spans.append(text[begin:stop])
        end = stop
    return "".join(pieces) + text[end:], spans


def _unmasked(text: str, spans: list[str]) -> str:
    for number, span in enumerate(spans):
        text = text.replace(chr(_MASK_FIRST + number), span)
    return text


def _mask_quantities(text: str, taken: int) -> tuple[str, list[str]]:
    """The text with a mark for every quantity."""
    quantities: list[str] = []
    pieces: list[str] = []
    end = 0
    for begin, stop, spelling in find_quantities(text):
        if taken + len(quantities) >= _MOST_MASKS:
            break
        pieces += text[end:begin], f" {chr(_MASK_FIRST + taken + len(quantities))} "
        quantities.append(spelling)
        end = stop
    return "".join(pieces) + text[end:], quantities


class _Word(Struct, frozen=True):
    """A word, wherever it stands."""

    small: str
    """In small letters, without what an apostrophe adds."""
    base: str
    being: bool
    points: bool
    """Whether it is a word of direction or relation."""
    empty: bool
    """Whether it carries no content."""
    capital: bool
    loud: bool
    """Whether all of several letters are capitals."""
    participle: bool
    bare_participle: bool


@lru_cache(maxsize=1 << 14)
def _word(token: str) -> _Word:
    small = token.lower().removesuffix("'s").removesuffix("s'").partition("'")[0]
    base = small if small in words.COMPARISONS else stem(small)
    return _Word(
        small=small,
        base=base,
        being=small in words.BEING,
        points=small in _POINTERS,
        empty=small in words.FUNCTION or small in words.NEGATIONS,
        capital=token[0].isupper(),
        loud=len(small) > 1 and token.isupper(),
        participle=small in words.PARTICIPLES or (small.endswith("ed") and base != small),
        bare_participle=small in words.BARE_PARTICIPLES,
    )


class _Reading:
    """One pass over the tokens of a text."""

    def __init__(self, text: str, spans: list[str], quantities: list[str]) -> None:
        self.content: list[str] = []
        self._spans = [_span(span) for span in spans]
        self._quantities = quantities
        self._text = text
        self._small: list[str] = []
        """Every word in small letters, content or not."""
        self._names: list[str] = []
        self._directions: list[tuple[str, str]] = []
        self._participles: list[str] = []
        self._passives: list[str] = []
        self._being = False
        """Whether the sentence holds a form of `be` so far."""
        self._open: list[str] = []
        """Direction words that have not met their content yet."""
        self._acronyms = not text.isupper()
        self._read()

    def _read(self) -> None:
        tokens: list[str] = _TOKENS.findall(_spaced(self._text))
        written = [token[0] for token in tokens if token[0].isalpha()]
        capitals = sum(map(str.isupper, written))
        telling = capitals < _TITLE_CASE * len(written) or (len(written) <= 3 and not self._text.isupper())
        first = True
        for token in tokens:
            if token in _ENDS:
                first, self._being = True, False
            elif not token[0].isalnum():
                self._mark(token)
                first = False
            else:
                self._word(_word(token), first=first, telling=telling)
                first = False

    def _mark(self, token: str) -> None:
        number = ord(token) - _MASK_FIRST
        if 0 <= number < len(self._spans):
            self._add(f"§{self._spans[number]}")
        elif 0 <= number - len(self._spans) < len(self._quantities):
            self._add(f"#{self._quantities[number - len(self._spans)]}")
        elif token in _OPERATORS:
            self._add(token)

    def _word(self, word: _Word, *, first: bool, telling: bool) -> None:
        small = word.small
        self._small.append(small)
        if word.being:
            self._being = True
        acronym = telling and word.loud and self._acronyms
        if word.points and not acronym and self._small[-2:] != ["how", "to"]:
            self._open.append(small)
        if word.empty and not acronym:
            return
        base = word.base
        if telling and word.capital and (not first or acronym or not exists(small)):
            self._names.append(base)
        elif word.participle or (self._being and word.bare_participle):
            self._participles.append(base)
            if self._being:
                self._passives.append(base)
        self._add(base)

    def _add(self, base: str) -> None:
        if self._open:
            self._directions += [(word, base) for word in self._open]
            self._open.clear()
        self.content.append(base)

    def signature(self, core: str) -> Signature:
        """What was read."""
        said = frozenset(self._small)
        return Signature(
            content=tuple(self.content),
            quantities=tuple(sorted(self._quantities)),
            spans=tuple(sorted(self._spans)),
            names=tuple(dict.fromkeys(self._names)),
            negations=sum(map(words.NEGATIONS.__contains__, self._small)),
            particles=tuple(sorted(words.PARTICLES & said)),
            directions=tuple(self._directions),
            comparisons=tuple(sorted(words.COMPARISONS & said)),
            question=_question(self._small),
            mood=_mood(self._small, said),
            persons="".join(letter for letter in dict.fromkeys(map(words.PERSONS.get, self._small)) if letter),
            fronted=bool(self._small) and self._small[0] in _BEGINNINGS,
            language=_language(self._text, said),
            core=core,
            participles=tuple(self._participles),
            passives=tuple(self._passives),
        )


def _spaced(text: str) -> str:
    """Letters of scripts that write without spaces stand apart."""
    return _CJK.sub(lambda match: f" {match[0]} ", text) if _CJK.search(text) else text


def _span(span: str) -> str:
    """Code and quotes as they are, ids without the difference of case and hyphen."""
    if span[0] in "`\"'":
        return span.strip("`\"'").strip()
    return span if "/" in span or "." in span else span.replace("-", "").casefold()


def _question(small: list[str]) -> str:
    """The class of a question, by its first words."""
    if not small:
        return "other"
    second = small[1] if len(small) > 1 else ""
    match small[0]:
        case "how":
            return _HOW.get(second, "how")
        case "what" | "which":
            copula = second in ("is", "are", "was", "were", "will") or small[0] == "which"
            return "what is" if copula else "what"
        case "who" | "whom" | "whose":
            return "who"
        case "when" | "where" | "why":
            return small[0]
        case "must":
            return "yes"
        case word if word in _YES_NO or word == "cannot":
            return "yes"
        case _:
            return _inner_question(small)


_HOW = {"much": "how much", "many": "how many", "long": "how long", "often": "how often", "far": "how far"} | {
    "old": "how old", "big": "how big", "to": "how to", "soon": "how long", "late": "how late",
    "early": "how early", "high": "how high", "tall": "how high", "fast": "how fast",
}  # fmt: skip


def _inner_question(small: list[str]) -> str:
    """`On my phone, how do I …` asks how; a statement asks nothing."""
    for place, word in enumerate(small):
        if word in ("how", "what", "when", "where", "why", "who", "which") and place <= len(small) - 2:
            return "how to" if _asks_how(small[place : place + 3]) else _question(small[place:])
    asks = small[0] in _BEGINNINGS and not _YES_NO.isdisjoint(small[1:])
    return "yes" if asks else "other"


def _asks_how(three: list[str]) -> bool:
    return three[0] == "how" and len(three) > 1 and three[1] in ("do", "can", "should", "i", "could", "would")


def _mood(small: list[str], said: frozenset[str]) -> str:
    kinds = (("a", words.ABLE), ("n", words.NEED), ("p", words.PAST), ("f", words.FUTURE), ("c", words.PRESENT))
    letters = "".join(letter for letter, kind in kinds if not kind.isdisjoint(said))
    how = len(small) > 1 and small[:2] == ["how", "to"]
    return letters.replace("a", "") if how else letters


def _language(text: str, said: frozenset[str]) -> str:
    """The language whose commonest words are there most; by its letters where it has its own."""
    letter = next((found[0] for found in _FOREIGN.finditer(text) if found[0].isalpha()), None)
    if letter is not None:
        return _SCRIPTS.get(unicodedata.name(letter, "").split(" ")[0], "")
    counts = {language: len(common & said) for language, common in words.STOPWORDS.items()}
    best = max(counts, key=counts.__getitem__)
    return best if counts[best] >= 2 and list(counts.values()).count(counts[best]) == 1 else ""


_SCRIPTS = {
    "CYRILLIC": "ru", "GREEK": "el", "ARABIC": "ar", "HEBREW": "he", "DEVANAGARI": "hi", "THAI": "th", "CJK": "zh",
    "HIRAGANA": "ja", "KATAKANA": "ja", "HANGUL": "ko",
}  # fmt: skip
