"""The small words of questions: which carry no content, which carry a direction, a comparison or a denial."""

__all__ = [
    "ABLE", "BARE_PARTICIPLES", "BEING", "COMPARISONS", "DIRECTIONS", "FUNCTION", "FUTURE", "LIGHT", "NEED",
    "NEGATIONS", "PARTICIPLES", "PARTICLES", "PAST", "PERSONS", "PRESENT", "RELATIONS", "SMALL", "STOPWORDS", "US",
    "YOU",
]  # fmt: skip


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


NEGATIONS = _words(
    "not no never none nor neither nothing nobody nowhere cannot without except unless excluding excluded exclude "
    "hardly rarely seldom avoid nicht kein keine keinen nie ohne pas jamais sans ni nunca sin non mai senza niet "
    "geen"
)
"""What turns a sentence round. Two texts have to hold an equal number of them, odd or even."""

DIRECTIONS = _words(
    "from to into onto than via before after until since between versus vs against towards toward over under "
    "above below"
)
"""Words after which it matters what stands."""

PARTICLES = _words(
    "in out on off up down over under above below to from into onto with without inside outside before after "
    "until since first last"
)
"""Words whose change for their opposite turns the meaning."""

COMPARISONS = _words(
    "more less most least fewer fewest better best worse worst higher highest lower lowest bigger biggest smaller "
    "smallest larger largest longer longest shorter shortest faster fastest slower slowest quicker quickest "
    "cheaper cheapest older oldest newer newest younger youngest earlier earliest later latest nearer nearest "
    "further furthest farther farthest stronger strongest weaker weakest safer safest easier easiest harder "
    "hardest heavier heaviest lighter lightest maximum minimum max min"
)

BEING = _words("am is are was were be been being get gets got getting gotten")
"""After one of these a participle is a passive: somebody else does it."""

PARTICIPLES = _words(
    "paid sent sold bought told taken given written made kept held left lost found built caught taught brought "
    "seen known shown stolen broken chosen driven eaten forgotten hidden spoken thrown worn drawn grown flown "
    "beaten bitten fed led met won sung struck shot hung spent lent bent felt dealt meant understood forgiven "
    "frozen sued bound bred done fought ridden rung shaken sought stung sworn swept torn woken wound withdrawn"
)
"""Irregular ones that are no base form as well; the others end in `ed`."""

BARE_PARTICIPLES = _words("shut set cut put hit hurt let read split spread shed cast")
"""Those that are base forms, too: after a form of `be` they are participles."""

ABLE = _words("can could may might able allowed permitted possible")
NEED = _words("must need needs needed should ought required shall supposed")
FUTURE = _words("will shall gonna")
PAST = _words("did was were had")
PRESENT = _words("is are am do does")
US = _words("i me my mine myself we us our ours ourselves")
YOU = _words("you your yours yourself")
PERSONS = {
    **dict.fromkeys(US, "i"),
    **dict.fromkeys(YOU, "y"),
    **dict.fromkeys(("he", "him", "his", "himself"), "h"),
    **dict.fromkeys(("she", "her", "hers", "herself"), "s"),
    **dict.fromkeys(("they", "them", "their", "theirs"), "t"),
}
"""A letter for each person that is spoken of."""
RELATIONS = _words("by about against for with of in on at")
"""Further words that say what something has to do with what follows them; a few of them cannot be exchanged."""

FUNCTION = (
    US | YOU | ABLE | NEED | FUTURE | PAST
    | _words(
        "a an the this that these those there here it its he him his she her hers they them their theirs one's is "
        "am are be been being do does done doing has have having would as at by for of on in into onto to "
        "from with about and or but if so than then too very what which who whom whose when where why how much "
        "many any some s re ve ll d m t just also please really actually currently exactly over under "
        "via it's let lets ok okay someone something anyone anything such own got"
    )
)  # fmt: skip
"""Words that carry no content of their own."""

SMALL = FUNCTION | NEGATIONS | DIRECTIONS | PARTICLES | COMPARISONS
"""What is no word of any dictionary of content, but a word."""

LIGHT = _words("want like would know tell find go going way thing get have need able available possible")
"""Content so slight that a question with it and one without may be the same."""

STOPWORDS = {
    "en": _words("the is are what how do does can my your i you of to in for and it who when where why on with"),
    "de": _words("der die das ist sind wie was kann ich mein meine sie ein eine und zu im für wo wann warum den"),
    "fr": _words("le la les est sont comment que quoi puis je mon ma vous un une et de du des où quand pourquoi"),
    "es": _words("el la los las es son cómo qué puedo yo mi usted un una y de del dónde cuándo por para en"),
    "it": _words("il lo la gli è sono come che cosa posso io mio mia un una e di del dove quando perché per"),
    "pt": _words("o a os as é são como que posso eu meu minha você um uma e de do da onde quando por para em"),
    "nl": _words("de het een is zijn hoe wat kan ik mijn u en van naar in voor waar wanneer waarom op met"),
}
"""Commonest words of a language, by which it is told."""
