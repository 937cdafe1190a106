"""Five labels from the many that data sets use: the source says attack or benign, rules say which attack."""

import re
import unicodedata

__all__ = ["BENIGN", "LABELS", "attack_label"]

LABELS = ("prompt_injection", "jailbreak", "system_extraction", "code_injection", "benign")
"""In the order of the model's outputs."""

BENIGN = "benign"

_OF_CATEGORY = {
    "jailbreak": "jailbreak",
    "persona_replacement": "jailbreak",
    "crescendo": "jailbreak",
    "many_shot": "jailbreak",
    "prompt_extraction": "system_extraction",
    "prompt_leak": "system_extraction",
    "system_extraction": "system_extraction",
    "model_fingerprinting": "system_extraction",
    "code_execution": "code_injection",
    "payload_injection": "code_injection",
}
"""Categories of neuralchemy that say by themselves which label they are."""

_CODE = re.compile(
    r"<\s*/?\s*(script|iframe|svg|img|object|embed|body|link|meta)\b|javascript:|\bon(error|load"
    r"|click|mouseover)\s*="
    r"|\bunion\s+(all\s+)?select\b|\bdrop\s+table\b|\bor\s+['\"]?1['\"]?\s*=\s*['\"]?1|;\s*--"
    r"|\binsert\s+into\b.*\bvalues\b"
    r"|\brm\s+-rf\b|\b(wget|curl)\s+\S+|/etc/(passwd|shadow)|\bos\.system\b|\bsubprocess\b"
    r"|__import__|\beval\s*\(|\bexec\s*\("
    r"|\$\{jndi:|\{\{.*\}\}|\$\(.+\)|\bnc\s+-e\b|/bin/(ba)?sh|\bpowershell\b|<!entity|\bxp_cmdshell\b|%0[ad]"
)
_EXTRACTION = re.compile(
    r"(prompts?|instructions?|instruktion\w*|anweisung\w*|instruc\w+|istruzion\w+|directi?v\w*"
    r"|direktiv\w*|richtlinie\w*|guidelines?"
    r"|configuration|config|constraints?|restrictions?|parameters?|system message|programming"
    r"|(initiali[sz]ation|foundational|preamble) ?text"
    r"|your rules|the rules|safeguards?|context window|what you were told|before this conversation"
    r"|text above|words above|secret key|password)"
)
_TELLING = re.compile(
    r"\b(reveal|show|print|repeat|output|display|tell|give|what(\s+is|\s+are|\s+were|'s|s)?|which"
    r"|list|share|disclose|expose|leak|dump|recite"
    r"|write|copy|paste|echo|return|describe|explain|summari[sz]e|translate|spell|quote|verbatim"
    r"|word for word|export|extract|provide|read"
    r"|inspect|include|append|contain|say|how many|zeig\w*|nenn\w*|gib|welche\w*|was|wie|montre\w*"
    r"|dis|donne|affiche|quel\w*|peux"
    r"|muestra\w*|muéstrame|dime|cuál|cual|qué|que|mostra\w*|dimmi|qual\w*|quale|mostre|diga|qual"
    r"|arată\w*|afișează|care|spune\w*)\b"
)
_OVERRIDING = re.compile(
    r"\b(ignor\w*|disregard|override|forget|bypass|umgehe|missachte|vernachlässige|desconsidere"
    r"|scarta|deja de|deroga|suspend\w*|overlook|dismiss"
    r"|setze|prioriti\w*|halt|skip|abandon|discard|ighore|no longer|reprogram\w*|cast off|without)\b"
)
_RUN = re.compile(
    r"\b(run|execute|exec\w*|debug this|bypass|test)\b\W{0,4}`.+`|\b(whoami|getruntime"
    r"|child_process|process\.env)\b|__class__|<%="
)
_PERSONA = re.compile(
    r"\b(dan|stan|dude|aim|jailbreak\w*|do anything now|unfiltered|uncensored|unrestricted"
    r"|no (restrictions|limits|rules|filters?)"
    r"|without (any )?(restrictions|limits|rules|filters?|limitations|ethic\w*)|developer mode"
    r"|god mode|evil|amoral|pretend|role-?play\w*"
    r"|act as|you are now|from now on|imagine you|persona|character|hypothetical\w*|fictional"
    r"|(bypass|disable) (all |any |your |the )*(safety|content|ethic\w*|filters?|restrictions)"
    r"|free from|grandma|grandmother|villain)\b"
)
_LEET = str.maketrans("013457@$!|", "oieastasil")
_LOOKALIKES = str.maketrans("аеорсухіѕјԁαερονικτϲԛ", "aeopcyxisjdaepoviktcq")
"""Letters of other alphabets that are drawn like ours."""


def attack_label(text: str, category: str = "") -> str:
    """Which attack a text is that its source calls one."""
    if category in _OF_CATEGORY:
        return _OF_CATEGORY[category]
    plain = unicodedata.normalize("NFKC", text).lower().translate(_LOOKALIKES)
    forms = (plain, plain.translate(_LEET))
    if any(_CODE.search(form) or _RUN.search(form) for form in forms):
        return "code_injection"
    if any(_PERSONA.search(form) for form in forms):
        return "jailbreak"
    if any(_TELLING.search(form) and _EXTRACTION.search(form) for form in forms) and not any(
        _OVERRIDING.search(form) and not re.search(r"reveal|show|print|tell|repeat|share|disclose", form)
        for form in forms
    ):
        return "system_extraction"
    return "prompt_injection"
