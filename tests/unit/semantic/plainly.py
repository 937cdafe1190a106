"""How a question is read, plainly: every expression of the tables is tried at every place. It takes much longer."""

import re
import unicodedata

from enginehouse.core.cache.semantic import edit, lexicon, phrasing, quantities, spans
from enginehouse.core.cache.semantic import vetoes as rules

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


def compare(stored, asked):
    """Which lost word became which new one: each is held against each."""
    lost, won = edit._rest(stored.content, asked.content), edit._rest(asked.content, stored.content)
    names, partners = {*stored.names, *asked.names}, {}
    free = dict.fromkeys(won)
    for one in dict.fromkeys(lost):
        found = next((other for other in free if _means_the_same(one, other, names)), None)
        if found is not None:
            partners[one] = found
            del free[found]
    for one, other in partners.items():
        lost.remove(one)
        won.remove(other)
    return tuple(lost), tuple(won), len(partners)


def _means_the_same(one, other, names):
    if one[0] in "#§" or other[0] in "#§":
        return False
    if lexicon.same_meaning(one, other) or _derived(one, other) or _derived(other, one):
        return True
    return not names & {one, other} and _likely_typo(one, other)


def _derived(base, word):
    if len(base) < 4 or not lexicon.exists(base):
        return False
    root = base.removesuffix("e")
    return any(word in (base + ending, root + ending) for ending in edit._NOUN_ENDINGS)


def _likely_typo(one, other):
    shorter = min(len(one), len(other))
    if lexicon.exists(one) == lexicon.exists(other) or shorter < 4 or one[0] != other[0]:
        return False
    return slips(one, other) <= (2 if shorter >= 9 else 1)


def slips(one, other):
    """Optimal string alignment."""
    above, before, row = [], [], list(range(len(other) + 1))
    for i, letter in enumerate(one, 1):
        above, before, row = before, row, [i]
        for j, theirs in enumerate(other, 1):
            cost = min(before[j] + 1, row[j - 1] + 1, before[j - 1] + (letter != theirs))
            if i > 1 and j > 1 and letter == other[j - 2] and one[i - 2] == theirs:
                cost = min(cost, above[j - 2] + 1)
            row.append(cost)
    return row[-1]


def vetoes(stored, asked, lost, won):
    """Of antonyms, names and directions, word by word."""

    def holds(signature, name):
        return name in signature.content or any(lexicon.same_meaning(name, stem) for stem in signature.content)

    mine = [name for name in stored.names if not holds(asked, name)]
    return (
        any(lexicon.opposite(one, other) for one in lost for other in won),
        bool(mine) and any(not holds(stored, name) for name in asked.names),
        _swapped(stored, asked) or _crossed(stored, asked) or _related(stored, asked),
    )


def _swapped(stored, asked):
    return any(
        mine != theirs
        and word == other_word
        and mine in asked.content
        and theirs in stored.content
        and (word, mine) not in asked.directions
        and (word, theirs) not in stored.directions
        for word, mine in stored.directions
        for other_word, theirs in asked.directions
    )


def _crossed(stored, asked):
    words = {word for word, _ in stored.directions}
    opposites = [(word, other) for word, other in rules._PAIRS if {word, other} <= words]
    return any(
        (other, target) in asked.directions and (word, target) not in asked.directions
        for word, other in opposites
        for pointed, target in stored.directions
        if pointed == word
    )


def _related(stored, asked):
    return any(
        target == their_target
        and word != other
        and not {word, other}.isdisjoint(rules._TELLING)
        and (other, target) not in stored.directions
        and (word, target) not in asked.directions
        for word, target in stored.directions
        for other, their_target in asked.directions
    )
