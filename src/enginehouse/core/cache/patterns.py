"""Signs in words: of questions about now, of questions about oneself, of refusals, and of secrets.

They err on the side of not caching: what is taken for one of these by mistake is asked of the model again.
"""

import re
from collections.abc import Iterable, Sequence

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
        alone: the same for a text in ASCII, but each is a whole word of it; that takes half of the time again.
        stems: with which a word of such a text may begin instead.
    """

    def __init__(
        self, *words: str, signs: Sequence[str] = (), alone: Iterable[str] = (), stems: Sequence[str] = ()
    ) -> None:
        self._pattern = re.compile(rf"\b(?:{'|'.join(words)})\b")
        self._signs = signs
        self._alone = frozenset(map(str.encode, alone))
        self._stems = tuple(map(str.encode, stems))

    @property
    def pattern(self) -> "re.Pattern[str]":
        """What is searched for in a folded text."""
        return self._pattern

    def found(self, text: str) -> bool:
        """Whether one is in the text, or at either end of a long one."""
        read = text if len(text) <= 2 * _END else f"{text[:_END]}\n{text[-_END:]}"
        if self._alone and read.isascii():
            if not self._stands_alone(read):
                return False
        elif self._signs and not any(map(read.casefold().__contains__, self._signs)):
            return False
        return self._pattern.search(read.casefold()) is not None

    def _stands_alone(self, text: str) -> bool:
        folded = text.encode().translate(_LETTERS)
        return not self._alone.isdisjoint(folded.split()) or any(map(folded.__contains__, self._stems))


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
    signs=(
        *("day", "night", "now", "tomorrow", "moment", "current", "this ", "last ", "next ", "past ", " ago"),
        *("latest", "newest", "recent", "breaking", "date", "news", "traffic", "weather", "forecast", "time"),
        *("price", "exchange rate", "score", "winning", "open", "heute", "jetzt", "gerade eben", "morgen"),
        *("gestern", "aktuell", "wetter", "aujourd", "maintenant", "demain", "hier soir", "hoy", "ahora"),
        *("ma\u00f1ana", "ayer", "qu\u00e9 tiempo", "\u4eca\u5929", "\u73b0\u5728", "\u4eca\u65e5", "\u660e\u65e5"),
    ),
    alone=(
        *("day", "today", "night", "tonight", "tomorrow", "yesterday", "now", "moment", "currently", "nowadays"),
        *("morning", "afternoon", "evening", "week", "weekend", "month", "quarter", "year", "days", "ago"),
        *("monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday", "date", "time", "current"),
        *("latest", "newest", "recent", "recently", "breaking", "news", "traffic", "weather", "forecast", "price"),
        *("exchange", "score", "winning", "open", "heute", "jetzt", "gerade", "morgen", "gestern", "wetter"),
        *("aujourd", "maintenant", "demain", "soir", "hoy", "ahora", "ayer"),
    ),
    stems=("aktuell",),
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
