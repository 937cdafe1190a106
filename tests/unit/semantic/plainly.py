"""How a question is read, plainly: every expression of the tables is tried at every place. It takes much longer."""

import re
import unicodedata

from enginehouse.core.cache.semantic import phrasing, quantities, spans

_INVISIBLE = dict.fromkeys((*range(0x200B, 0x2010), *range(0x202A, 0x202F), *range(0x2060, 0x2065), 0xFEFF, 0xAD))
_QUOTES = str.maketrans("\u2019\u2018\u201c\u201d\u00ab\u00bb\u2013\u2014", '\'\'""""--')


def _joined(ways, before):
    return re.compile("|".join(rf"({before}(?:{'|'.join(way)})(?!\w))" for way in ways.values()), re.IGNORECASE)


_FRAME, _PHRASE = _joined(phrasing._FRAMES, "^"), _joined(phrasing._PHRASES, r"\b")
_LEAD = re.compile(rf"^(?:(?:{'|'.join(phrasing._LEADS)})\b[\s,.!:;-]*)+(?=[\w\ue000-\uf8ff])", re.IGNORECASE)
_TAIL = re.compile(rf"(?:[\s,.!?;-]+(?:{'|'.join(phrasing._TAILS)}))+[\s.!?]*$", re.IGNORECASE)
_FILLER = re.compile(r"(?<=\s)(?:um+|uh+|erm?)\s", re.IGNORECASE)
_SWITCHED = re.compile(r"\b(?:turn|switch)(?:ing|ed)? ((?:\S+ ){0,3}?)(on|off)\b", re.IGNORECASE)
_TAKES = re.compile(r"^(how long) (does|will|would) it take for ((?:\S+ ){1,6}?)to ", re.IGNORECASE)
_NOT = re.compile(
    r"\b(do|does|did|is|are|was|were|have|has|had|would|could|should|must|need|ca|wo|sha)n't\b", re.IGNORECASE
)
_IS = re.compile(r"\b(what|who|where|when|how|why|it|that|there)'s\b", re.IGNORECASE)
_SPANS = re.compile("|".join(kind.expression for kind in spans.KINDS), re.DOTALL)
_PRONOUN_ONE = re.compile(
    r"\b(?:this|that|which|the|no|any|some|each|every|another|new|old|other)\s$", re.IGNORECASE
)
_MAY_IS_A_MONTH = re.compile(
    r"\b(?:in|of|by|since|until|from|to|for|this|next|last|on|\d+(?:st|nd|rd|th)?)\s$", re.IGNORECASE
)


def plain(text):
    text = unicodedata.normalize("NFKC", text).translate(_INVISIBLE).translate(_QUOTES)
    return re.sub(r"\s+", " ", text).strip()


def trimmed(text):
    text = _TAIL.sub("", _FILLER.sub("", _LEAD.sub("", text)))
    return text.rstrip(" ?!.") or text


def framed(text):
    text = _TAKES.sub(r"\1 \2 \3 take to ", text)
    return _FRAME.sub(lambda match: tuple(phrasing._FRAMES)[match.lastindex - 1], text, count=1)


def expanded(text):
    text = _IS.sub(
        r"\1 is", _NOT.sub(lambda match: "cannot" if match[1].lower() == "ca" else f"{match[1]} not", text)
    )
    text = _SWITCHED.sub(lambda match: f"{'enable' if match[2].lower() == 'on' else 'disable'} {match[1]}", text)
    return _PHRASE.sub(lambda match: tuple(phrasing._PHRASES)[match.lastindex - 1], text)


def find_spans(text):
    return [match.span() for match in _SPANS.finditer(text)]


def find_quantities(text):
    """Where they are: the words that make none are told by what stands before them."""
    found = []
    for match in quantities._PATTERN.finditer(text):
        before, said = text[: match.start()], match.groupdict()
        if (said["words"] or "").lower() == "one" and _PRONOUN_ONE.search(before):
            continue
        if (said["month"] or "").lower() in ("may", "march") and not _MAY_IS_A_MONTH.search(before):
            continue
        found.append(match.span())
    return found
