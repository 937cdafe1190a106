"""Signs in words: of questions about now, of questions about oneself, of refusals, and of secrets.

They err on the side of not caching: what is taken for one of these by mistake is asked of the model again.
"""

import re
from collections.abc import Mapping, Sequence
from types import MappingProxyType

__all__ = ["PERSONAL", "REFUSED", "REFUSED_SIGNS", "SECRET", "SECRET_MARKS", "SECRET_SIGNS", "VOLATILE", "Words"]


_END = 4000
"""Characters. What is wanted of a long text stands before or after it; to search all of a book takes too long."""


_LETTERS = bytes(
    ord(chr(at).lower()) if chr(at).isalnum() or at == ord("_") else ord(" ") for at in range(128)
).ljust(256)
"""Of ASCII: what words are of, folded, and a space for all else."""


class Words:
    """Any of these expressions, as whole words, in capitals or not.

    Texts are folded before they are searched, not while: that takes a fifth of the time on every request.

    Args:
        words: written in small letters.
        signs: without one of these no word can be there; looking for them first takes a tenth of the time.
        alone: in their place, ASCII words of which one is in every expression, each a whole word of the text: that
            takes half of the time again. With each goes what has to be there as well, of which one will do and all
            but letters is a space, as in "right now"; "now?" is there where a question mark follows. Where nothing
            is named, the word itself is an expression.
        stems: with which a word may begin instead.
        foreign: in texts that are not in ASCII, what may be there instead.
    """

    def __init__(
        self,
        *words: str,
        signs: Sequence[str] = (),
        alone: Mapping[str, Sequence[str]] = MappingProxyType({}),
        stems: Sequence[str] = (),
        foreign: Sequence[str] = (),
    ) -> None:
        self._pattern = re.compile(rf"\b(?:{'|'.join(words)})\b")
        self._signs = signs
        self._alone = frozenset(map(str.encode, alone))
        self._enough = frozenset(word.encode() for word, beside in alone.items() if not beside)
        self._beside = {
            word.encode(): tuple(one.encode() for one in beside if not one.endswith("?"))
            for word, beside in alone.items()
        }
        self._questioned = {
            word.encode(): re.compile(rf"{word}\s*\?") for word, beside in alone.items() if f"{word}?" in beside
        }
        self._stems = tuple(map(str.encode, stems))
        self._foreign = foreign

    @property
    def pattern(self) -> "re.Pattern[str]":
        """What is searched for in a folded text."""
        return self._pattern

    def found(self, text: str) -> bool:
        """Whether one is in the text, or at either end of a long one."""
        read = text if len(text) <= 2 * _END else f"{text[:_END]}\n{text[-_END:]}"
        if self._alone:
            told = self._told_by_words(read)
            if told is not None:
                return told
        elif self._signs and not any(map(read.casefold().__contains__, self._signs)):
            return False
        return self._pattern.search(read.casefold()) is not None

    def _told_by_words(self, text: str) -> bool | None:
        """What single words of it tell; None when it has to be searched."""
        plain = text.isascii()
        cased = text if plain else text.casefold()
        folded = cased.encode("ascii", "replace").translate(_LETTERS)
        words = folded.split()
        if any(map(folded.__contains__, self._stems)) or (not plain and self._is_foreign(cased)):
            return None
        if self._alone.isdisjoint(words):
            return False
        found = self._alone.intersection(words)
        if plain and not self._enough.isdisjoint(found):
            return True
        return None if any(self._goes_on(word, folded, cased) for word in found) else False

    def _is_foreign(self, text: str) -> bool:
        return any(map(text.__contains__, self._foreign))

    def _goes_on(self, word: bytes, folded: bytes, text: str) -> bool:
        """Whether something is there that has to be beside the word, though perhaps not where it should."""
        beside = self._beside[word]
        if word in self._enough or any(map(folded.__contains__, beside)):
            return True
        question = self._questioned.get(word)
        return question is not None and question.search(text.casefold()) is not None


VOLATILE = Words(
    r"to-?day|to-?night|tomorrow|yesterday|right now|at the moment|currently|nowadays|as of now|now(?=\s*\?)",
    r"this (?:morning|afternoon|evening|week|weekend|month|quarter|year)",
    r"(?:last|next|past) (?:night|week|weekend|month|quarter|year|few days)",
    r"(?:last|next) (?:mon|tues|wednes|thurs|fri|satur|sun)day",
    r"\d+ (?:minutes?|hours?|days?|weeks?) (?:ago|from now)",
    r"latest|newest|most recent|recently|breaking|up[- ]to[- ]date|news|traffic|weather|forecast",
    r"what(?:'s| is)? (?:the )?(?:time|date|day)(?! of)",
    r"current (?:price|rate|time|date|president|prime minister|ceo|version|status|score|temperature)",
    r"stock price|share price|exchange rate|price of|live score|who is winning|still open|open now",
    r"heute|jetzt|gerade eben|morgen|gestern|aktuell\w*|wetter",
    r"aujourd['\u2019]hui|maintenant|demain|hier soir|hoy|ahora|ma\u00f1ana|ayer|qu\u00e9 tiempo",
    r"\w*(?:\u4eca\u5929|\u73b0\u5728|\u4eca\u65e5|\u660e\u65e5)\w*",
    alone={
        **dict.fromkeys(("today", "tonight", "tomorrow", "yesterday", "currently", "nowadays"), ()),
        **dict.fromkeys(("latest", "newest", "recently", "breaking", "news", "traffic", "weather", "forecast"), ()),
        **dict.fromkeys(("heute", "jetzt", "morgen", "gestern", "wetter"), ()),
        **dict.fromkeys(("maintenant", "demain", "hoy", "ahora", "ayer"), ()),
        "now": ("right now", "as of now", "from now", "open now", "now?"),
        "moment": ("at the moment",),
        "ago": ("s ago", "minute ago", "hour ago", "day ago", "week ago"),
        **{word: (f"this {word}",) for word in ("morning", "afternoon", "evening")},
        **{word: (f"this {word}", f"t {word}") for word in ("week", "weekend", "month", "quarter", "year")},
        "night": ("to night", "t night"),
        **{f"{day}day": (f"t {day}day",) for day in ("mon", "tues", "wednes", "thurs", "fri", "satur", "sun")},
        "days": ("few days",),
        "day": ("to day", "what day", "s day", "what the day", "s the day"),
        "date": ("to date", "what date", "s date", "what the date", "s the date"),
        "time": ("what time", "s time", "what the time", "s the time"),
        "current": tuple(f"current {one}" for one in ("p", "ra", "ti", "da", "ce", "ve", "s", "te")),
        "recent": ("most recent",),
        "price": ("stock price", "share price", "price of"),
        "exchange": ("exchange rate",),
        "score": ("live score",),
        "winning": ("who is winning",),
        "open": ("still open", "open now"),
        "gerade": ("gerade eben",),
        "aujourd": ("aujourd hui",),
        "soir": ("hier soir",),
    },
    stems=("aktuell",),
    foreign=("ma\u00f1ana", "qu\u00e9 tiempo", "\u4eca\u5929", "\u73b0\u5728", "\u4eca\u65e5", "\u660e\u65e5"),
)
"""The answer depends on when it is asked."""

PERSONAL = Words(
    r"my (?:account|order|booking|reservation|ticket|invoice|bill|balance|appointment|subscription|password)",
    r"my (?:payment|delivery|package|parcel|profile|e-?mail|inbox|calendar|schedule|salary|claim|name|address)",
    signs=("my ",),
)
"""The answer depends on who asks."""

REFUSED = re.compile(
    r"(?:i(?:['\u2019]m| am) (?:very |really |so )?(?:sorry|afraid)[,.]? (?:but )?(?:i|we|that)"
    r"|sorry[,.] (?:but )?i can"
    r"|i (?:can(?:no|['\u2019])t|am (?:unable|not able) to|won['\u2019]t)"
    r" (?:help|assist|comply|answer|provide|discuss|do that|fulfil|engage|create|generate|continue)"
    r"|i['\u2019]m (?:unable|not able) to|i must (?:decline|refuse)|as an ai(?: language)? model)"
)
"""How an answer begins, folded, that is a refusal, though its finish reason does not say so."""
REFUSED_SIGNS = frozenset("ias")
"""Letters with which all of these begin."""

SECRET = re.compile(
    r"-----BEGIN [A-Z ]*PRIVATE KEY-----|\bsk-[A-Za-z0-9_-]{20,}|\bAKIA[0-9A-Z]{16}\b|\bgh[pousr]_[A-Za-z0-9]{36}"
    r"|\bxox[abprs]-[A-Za-z0-9-]{10,}|\beyJ[A-Za-z0-9_-]{10,}\.eyJ[A-Za-z0-9_-]{10,}\.|\beh-[A-Za-z0-9_-]{30,}"
)
"""Keys and tokens; each holds one of `SECRET_SIGNS`."""
SECRET_SIGNS = (
    *("PRIVATE KEY", "sk-", "AKIA", "ghp_", "gho_", "ghu_", "ghs_", "ghr_"),
    *("xoxa-", "xoxb-", "xoxr-", "xoxs-", "xoxp-", "eyJ", "eh-"),
)
SECRET_MARKS = ("-", "_", "AKIA", "eyJ")
"""Each of these signs holds one; in most texts there is none, which is soon known."""
