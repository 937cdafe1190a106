"""Takes out of texts what nobody needs to read again: keys, tokens, e-mail addresses, card numbers."""

import re
from collections.abc import Iterable

__all__ = ["Redactor", "scrubbed"]

_SECRETS = re.compile(
    r"""
    # keys of providers, and our own
    \b(?:(?:sk|rk|pk|eh|hf|xox[abprs]|gh[pousr]|glpat)[-_]|AIza|AKIA|ASIA)[A-Za-z0-9_\-]{12,}
    # JSON web tokens
    | \beyJ[A-Za-z0-9_\-]{8,1024}\.[A-Za-z0-9_\-]{8,4096}\.[A-Za-z0-9_\-]{4,}
    # bearer tokens
    | (?<=Bearer\ )[A-Za-z0-9._~+/\-]{8,}=*
    # user:password@host
    | (?<=://)[^\s/:@]*:[^\s/@]+(?=@)
    """,
    re.VERBOSE,
)
_EMAIL = re.compile(r"\b[A-Za-z0-9._%+\-]{1,64}@[A-Za-z0-9\-]{1,63}(?:\.[A-Za-z0-9\-]{1,63})+\b")
_DIGITS = re.compile(r"\b\d(?:[ \-]?\d){12,18}\b")

_SIGNS = (
    *(
        f"{kind}{dash}"
        for kind in ("sk", "rk", "pk", "eh", "hf", "ghp", "gho", "ghu", "ghs", "ghr")
        for dash in "-_"
    ),
    *("xox", "glpat", "AIza", "AKIA", "ASIA", "eyJ", "Bearer ", "://"),
)
"""What a text without any of is not looked at any closer."""


def scrubbed(text: str) -> str:
    """A line without keys, tokens and passwords of addresses."""
    if not any(sign in text for sign in _SIGNS):
        return text
    return _SECRETS.sub("[secret]", text)


class Redactor:
    """What is kept of prompts and answers has passed it.

    Args:
        rules: regular expressions of what else to take out.

    Raises:
        re.error: one of them is none.
    """

    def __init__(self, rules: Iterable[str] = ()) -> None:
        self._rules = [re.compile(rule) for rule in rules]

    def __call__(self, text: str) -> str:
        """The same text without it."""
        text = scrubbed(text)
        text = _EMAIL.sub("[email]", text)
        text = _DIGITS.sub(_card, text)
        for rule in self._rules:
            text = rule.sub("[redacted]", text)
        return text


def _card(found: re.Match[str]) -> str:
    """Card numbers have a check digit; other long numbers stay."""
    digits = [int(sign) for sign in found[0] if sign.isdigit()]
    doubled = [digit * 2 - 9 * (digit > 4) if place % 2 else digit for place, digit in enumerate(reversed(digits))]
    return "[card]" if sum(doubled) % 10 == 0 else found[0]
