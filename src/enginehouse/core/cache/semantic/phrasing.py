"""Ways of saying what does not matter: greetings, thanks, long beginnings, contractions, words in two pieces."""

import re

from enginehouse.core.cache.semantic.spotting import Phrases, any_of, folded, spellings

__all__ = ["expanded", "framed", "trimmed"]

_ASKING = r"(?=,? (?:how|what|when|where|who|why|which|whether|if|about|the))"
_LEADS = (
    r"(?:hi|hiya|hello|hey|dear|good (?:morning|afternoon|evening))(?: (?:there|team|all|everyone|folks|guys))?",
    r"(?:um+|uh+|er+m?|hmm+|ah|oh|so|well|ok|okay|right|now|and|but|also)",
    r"sorry to (?:bother|trouble) you(?:,? but)?",
    r"(?:a )?(?:silly|stupid|quick|dumb|simple|random) question(?:,? but)?",
    rf"(?:just wondering|i was wondering|i wonder|wondering)(?: if you (?:could|can) tell me)?{_ASKING}",
    rf"(?:(?:can|could|would|will) you (?:please )?)?(?:tell|show|explain to|let) (?:me|us)(?: know)?{_ASKING}",
    rf"(?:do you know|any idea|i(?: would|'d)? (?:want|need|like|love) to know){_ASKING}",
    r"(?:please|kindly|sorry|excuse me|pardon|thanks(?: in advance)?|thank you)",
)
"""What people say before they come to the point; each may be followed by another."""
_TAILS = (
    r"(?:please|thanks(?: in advance| a lot| so much)?|thank you(?: (?:very|so) much)?|cheers|many thanks|ta)",
    r"(?:if (?:that's|that is) (?:ok|okay|possible|alright)|if you don't mind)",
)
"""And afterwards."""

_THE_WAY = (
    r"what(?:'s| is| are|s)? (?:the )?(?:best |easiest |right |correct |proper |simplest )?"
    r"(?:way|ways|process|procedure|method|steps?)"
)
_WE = r"(?:i|we|you|one)"
_FRAMES: dict[str, tuple[str, ...]] = {
    "how to": (
        rf"how (?:would|do|can|could|should|might|may|must) {_WE}(?: go about)?",
        rf"how {_WE}(?: (?:can|could|should|need to|have to|would))?",
        r"how to go about",
        r"in what way (?:can|do) i",
        r"is there (?:a|any) way (?:to|for me to|i can)",
        rf"{_THE_WAY}(?: (?:i|we) (?:can|should|need to|have to|must))? (?:to|for|of|in|take to)",
        rf"{_THE_WAY} (?:do |should )?(?:i|we) (?:should |need to |have to |must )?take to",
        r"what (?:do|should|must|would) (?:i|we) (?:need to |have to )?do (?:to|in order to)",
    ),
    "can i": (
        r"is it (?:possible|ok|okay|fine|allowed|permitted) (?:for me |for us )?to",
        r"(?:am i|are we) (?:able|allowed|permitted) to",
        r"(?:would|will) i be able to",
        r"(?:may|could|might) i",
    ),
    "must i": (
        r"(?:do|would) i (?:need|have) to",
        r"am i (?:required|obliged|supposed) to",
        r"is it (?:necessary|required|mandatory) (?:for me )?to",
        r"have i got to",
        r"must i",
    ),
    "when": (r"(?:at )?what time", r"(?:on )?what (?:date|day)"),
    "do you have": (r"have you got", r"have you(?= (?:any|a|an)\b)"),
    "why": (r"how come", r"for what reason", r"what(?:'s| is) the reason"),
    "how much is": (
        r"what(?:'s| is) the (?:price|cost|charge) (?:of|for)",
        r"how expensive (?:is|are)",
    ),
    "how much does": (r"what (?:does|do|would)(?=.*\bcost\b)",),
    "how much do": (r"what (?:do|would) you charge (?:for|to)",),
    "how long is": (r"what(?:'s| is) the duration of",),
    "who wrote": (r"who(?:'s| is| was) the (?:author|writer) of",),
    "who invented": (r"who(?:'s| is| was) the inventor of",),
    "who discovered": (r"who(?:'s| is| was) the discoverer of",),
    "who founded": (r"who(?:'s| is| was) the founder of",),
    "who directed": (r"who(?:'s| is| was) the director of(?= the (?:film|movie))",),
    "who composed": (r"who(?:'s| is| was) the composer of",),
    "who painted": (r"who(?:'s| is| was) the painter of",),
    "who owns": (r"who(?:'s| is) the owner of",),
    "where": (r"in (?:which|what) (?:place|location)", r"whereabouts"),
    "what is": (
        r"(?:give me|i need|show me|list|name)(?= (?:the|a|an|some|all)\b)",
        r"(?:calculate|compute|work out|how much is)(?= [\ue000-\uf8ff\d])",
    ),
}
"""The short beginning of a question, and the longer ones that say no more."""

_PHRASES: dict[str, tuple[str, ...]] = {
    "register": (r"sign(?:ing|ed)? up",),
    "login": (r"(?:sign(?:ing|ed)?|log(?:ging|ged)?)[ -]?(?:in|on)(?: to)?",),
    "logout": (r"(?:sign(?:ing|ed)?|log(?:ging|ged)?)[ -]?(?:out|off)(?: of)?",),
    "setup": (r"set(?:ting)?[ -]up",),
    "remove": (r"get(?:ting)? rid of",),
    "submit": (r"hand(?:ing)? in",),
    "complete": (r"fill(?:ing)?[ -]?(?:in|out)",),
    "telework": (r"work(?:ing)? from home", r"remote(?:ly)? work(?:ing)?"),
    "include": (r"comes? with",),
    "how much": (r"how much (?:money|cash)",),
    "usa": (r"united states(?: of america)?", r"u\.s\.(?:a\.)?", r"(?-i:USA?)"),
    "uk": (r"united kingdom", r"u\.k\."),
    "email": (r"e-mail",),
    "wifi": (r"wi-fi",),
    "pr": (r"pull request",),
    "postcode": (r"post code", r"zip ?code"),
    "contact": (r"get(?:ting)? in touch(?: with)?", r"get(?:ting)? (?:a )?hold of"),
    "repay": (r"pay(?:ing)? back",),
    "return": (r"(?:send|tak|giv|bring)(?:e|ing)? back",),
    "collect": (r"pick(?:ing)? up",),
    "postpone": (r"put(?:ting)? off",),
    "cancel": (r"call(?:ing)? off",),
    "continue": (r"(?:carry|go)(?:ing)? on with",),
    "ensure": (r"mak(?:e|ing) sure",),
    "investigate": (r"look(?:ing)? into",),
    "claim": (r"(?:mak|fil|lodg|submit)(?:e|ing|ting)? (?:a|an insurance) claim",),
    "pay": (r"mak(?:e|ing) (?:a )?payments?",),
    "complain": (r"(?:mak|fil|lodg|submit)(?:e|ing|ting)? a complaint",),
    "order": (r"plac(?:e|ing) an order",),
    "decide": (r"mak(?:e|ing) a decision",),
    "to": (r"in order to", r"so as to"),
    "capital": (r"capital city",),
    "atm": (r"(?:cash|atm) machine", r"hole in the wall", r"automated teller(?: machine)?"),
    "mobile": (r"(?:mobile|cell) ?phone",),
    "cv": (r"curriculum vitae", r"résumé"),
    "asap": (r"as soon as possible",),
    "faq": (r"frequently asked questions",),
    "motorbike": (r"motor ?cycle",),
    "secondhand": (r"second[ -]hand", r"pre[ -]?owned"),
    "must": (r"ha(?:ve|s) to",),
    "cannot": (r"unable to",),
}
"""One word, and those that only together mean the same."""


_FRAMED = tuple(_FRAMES)
_FRAME = re.compile("|".join(rf"((?:{'|'.join(way)})(?!\w))" for way in _FRAMES.values()), re.IGNORECASE)
_EXPANDED = Phrases(_PHRASES)
_LEAD = re.compile(rf"(?:(?:{'|'.join(_LEADS)})\b[\s,.!:;-]*)+(?=[\w\ue000-\uf8ff])", re.IGNORECASE)
_THANKS = rf"(?:[\s,.!?;-]++(?:{'|'.join(_TAILS)}))+"
_TAIL = re.compile(rf"({_THANKS}[\s.!?]*+$)|{_THANKS}", re.IGNORECASE)
_TAIL_SIGNS = tuple(spelling for tail in _TAILS for spelling in spellings(tail))
_LONGEST_TAIL = max(map(len, _TAIL_SIGNS))
"""Thanks at the end, or elsewhere: where they begin that are not at the end, none begin that are."""
_FILLERS = ("um+", "uh+", "erm?")
_FILLER = re.compile(rf"(?<=\s)(?:{'|'.join(_FILLERS)})\s", re.IGNORECASE)
_FILLER_SIGNS = tuple(f" {filler[:2]}" for filler in _FILLERS)
_SWITCHED = re.compile(r"\b(?:turn|switch)(?:ing|ed)? ((?:\S+ ){0,3}?)(on|off)\b", re.IGNORECASE)
_SWITCHED_SIGNS = ("turn", "switch")
_TAKES = re.compile(r"(how long) (does|will|would) it take for ((?:\S+ ){1,6}?)to ", re.IGNORECASE)
_DENIED = (
    *("do", "does", "did", "is", "are", "was", "were", "have", "has", "had", "would", "could", "should", "must"),
    *("need", "ca", "wo", "sha"),
)
_BEING = ("what", "who", "where", "when", "how", "why", "it", "that", "there")
_CONTRACTED = re.compile(rf"\b(?:(?:{any_of(_DENIED)})n't\b|(?:{any_of(_BEING)})'s\b)")
"""In small letters."""


def trimmed(text: str) -> str:
    """Without greetings, fillers and thanks; its words are parted by single spaces."""
    if (lead := _LEAD.match(text)) is not None:
        text = text[lead.end() :]
    if any(map(folded(text).__contains__, _FILLER_SIGNS)):
        text = _FILLER.sub("", text)
    ends_well = folded(text.rstrip(" .!?")[-_LONGEST_TAIL:]).endswith(_TAIL_SIGNS)
    if ends_well and (tail := next((match for match in _TAIL.finditer(text) if match[1]), None)) is not None:
        text = text[: tail.start()]
    return text.rstrip(" ?!.") or text


def framed(text: str) -> str:
    """With one short beginning for the many ways to begin."""
    if (takes := _TAKES.match(text)) is not None:
        text = f"{takes[1]} {takes[2]} {takes[3]} take to {text[takes.end() :]}"
    if (frame := _FRAME.match(text)) is not None:
        text = _FRAMED[(frame.lastindex or 1) - 1] + text[frame.end() :]
    return text


def expanded(text: str) -> str:
    """Contractions written out, phrases as one word."""
    if "'" in text:
        text = _written_out(text)
    if any(map(folded(text).__contains__, _SWITCHED_SIGNS)):
        text = _SWITCHED.sub(
            lambda match: f"{'enable' if match[2].lower() == 'on' else 'disable'} {match[1]}", text
        )
    return _EXPANDED.replaced(text)


def _written_out(text: str) -> str:
    """Without contractions."""
    pieces: list[str] = []
    end = 0
    for match in _CONTRACTED.finditer(folded(text)):
        begin, stop = match.span()
        if match[0] == "can't":
            pieces += text[end:begin], "cannot"
        elif match[0].endswith("n't"):
            pieces += text[end : stop - len("n't")], " not"
        else:
            pieces += text[end : stop - len("'s")], " is"
        end = stop
    return "".join(pieces) + text[end:]
