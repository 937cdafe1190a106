"""Numbers, dates, times, money and units in a text, each in one spelling, so that two texts can be compared.

`£1,000`, `1000 GBP` and `1k pounds` are one amount; `7pm` and `19:00` one time; `fifteen percent` and `15%` one
share.
"""

import re
from collections.abc import Iterator

from enginehouse.core.cache.semantic.spotting import any_of, folded

__all__ = ["Quantity", "find_quantities"]

Quantity = tuple[int, int, str]
"""Where it begins and ends in the text, and its one spelling."""

_ONES = (
    "zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen "
    "seventeen eighteen nineteen"
)
_TENS = "twenty thirty forty fifty sixty seventy eighty ninety"
_WORDS = {word: value for value, word in enumerate(_ONES.split())} | {
    word: 10 * value for value, word in enumerate(_TENS.split(), 2)
}
_SCALES = {"hundred": 100, "thousand": 1000, "million": 10**6, "billion": 10**9}
_SHORT_SCALES = {"k": 1000, "m": 10**6, "bn": 10**9}

_MONEY = {
    "$": "usd", "usd": "usd", "dollar": "usd", "dollars": "usd", "us$": "usd",
    "£": "gbp", "gbp": "gbp", "pound": "gbp", "pounds": "gbp", "quid": "gbp",
    "€": "eur", "eur": "eur", "euro": "eur", "euros": "eur",
    "¥": "jpy", "jpy": "jpy", "yen": "jpy", "₹": "inr", "inr": "inr", "rupees": "inr",
    "chf": "chf", "cad": "cad", "aud": "aud", "nzd": "nzd", "cny": "cny", "sek": "sek", "btc": "btc",
}  # fmt: skip

_UNITS = {
    "percent": "%", "per cent": "%", "%": "%", "kilometre": "km", "kilometer": "km", "kilogram": "kg", "kilo": "kg",
    "gram": "g", "mile": "mi", "metre": "m", "meter": "m", "centimetre": "cm", "centimeter": "cm", "inch": "in",
    "inches": "in", "foot": "ft", "feet": "ft", "litre": "l", "liter": "l", "hour": "h", "hr": "h", "minute": "min",
    "second": "s", "sec": "s", "day": "d", "week": "wk", "month": "mo", "year": "y", "yr": "y", "gigabyte": "gb",
    "megabyte": "mb", "terabyte": "tb", "kilobyte": "kb", "degree": "°", "bedroom": "bed", "bed": "bed",
}  # fmt: skip
_WHOLE = {"wk": (7, "d"), "y": (12, "mo")}
"""Units that are a whole number of others, wherever they are: `two weeks` are 14 days."""
_SYMBOLS = (
    "kg|g|mg|km|cm|mm|m|mi|mph|kmh|ft|lb|lbs|oz|ml|l|gb|mb|tb|kb|gib|mib|kwh|kw|mw|w|v|hz|khz|mhz|ghz|px|fps|°c|°f"
)

_FULL_DAYS = "monday tuesday wednesday thursday friday saturday sunday"
_FULL_MONTHS = "january february march april may june july august september october november december"
_WEEKDAYS = {day[:3]: f"wd{n}" for n, day in enumerate(_FULL_DAYS.split(), 1)}
_MONTHS = {month[:3]: f"mo{n}" for n, month in enumerate(_FULL_MONTHS.split(), 1)}

_UNIT_WORDS = "|".join(sorted((f"{re.escape(word)}s?" for word in _UNITS if word != "%"), key=len, reverse=True))
_MONEY_SIGNS = "".join(sign for sign in _MONEY if len(sign) == 1)
_MONEY_WORDS = "|".join(sorted((word for word in _MONEY if word.isalpha()), key=len, reverse=True))
_MONEY_FIRST = ("usd", "gbp", "eur", "chf", "cad", "aud")
"""Words for money that may stand before the number."""
_NUMBER_WORD = "|".join(sorted((*_WORDS, *_SCALES), key=len, reverse=True))

_TIME = (
    r"(?P<hour>\d{1,2})(?:[:.](?P<minute>\d\d))?\s?(?P<half>[ap]\.?m\b\.?)|(?P<hour24>\d{1,2}):(?P<minute24>\d\d)"
)
_AMOUNT = (
    rf"(?:(?P<sign>us\$|[{_MONEY_SIGNS}]|\b(?:{'|'.join(_MONEY_FIRST)})\b)\s?)?"
    r"(?P<digits>\d{1,3}(?:,\d{3})+(?:\.\d+)?|\d+(?:\.\d+)*)(?P<ordinal>st\b|nd\b|rd\b|th\b)?"
    r"(?P<scale>(?:k|bn|(?<=\d)m)\b|\s(?:hundred|thousand|million|billion)\b)?"
)
_SPELLED = rf"\b(?P<words>(?:{_NUMBER_WORD})(?:[\s-](?:and\s)?(?:{_NUMBER_WORD}))*)\b"
_AFTER = rf"(?P<unit>\s?(?:%|(?:{_SYMBOLS})\b)|[\s-](?:{_UNIT_WORDS}|{_MONEY_WORDS})\b)?"
_DAY = rf"\b(?P<day>{'|'.join(_FULL_DAYS.split())})s?\b"
_MONTH = rf"\b(?P<month>{'|'.join(_FULL_MONTHS.split())})\b"
_PATTERN = re.compile(rf"{_TIME}|(?:{_AMOUNT}|{_SPELLED}){_AFTER}|{_DAY}|{_MONTH}", re.IGNORECASE)

_BEGINNING = re.compile(
    rf"[\d{_MONEY_SIGNS}]|us\$"
    rf"|\b(?:{any_of((*_WORDS, *_SCALES, *_MONEY_FIRST, *_FULL_DAYS.split(), *_FULL_MONTHS.split()))})"
)
"""What every quantity begins with, in small letters: there the pattern is tried, and nowhere else."""

_PRONOUN_ONE = re.compile(r"(?:this|that|which|the|no|any|some|each|every|another|new|old|other)", re.IGNORECASE)
_MAY_IS_A_MONTH = re.compile(
    r"(?:in|of|by|since|until|from|to|for|this|next|last|on|\d+(?:st|nd|rd|th)?)", re.IGNORECASE
)
_MOST_DIGITS = 1000
"""Of a number that is reckoned with; a longer one is what it looks like."""
_DAY_MINUTES = 12 * 60


def find_quantities(text: str) -> Iterator[Quantity]:
    """Every quantity of a text, in order."""
    small, at = folded(text), 0
    while (beginning := _BEGINNING.search(small, at)) is not None:
        match = _PATTERN.match(text, beginning.start())
        if match is None:
            at = beginning.start() + 1
            continue
        at = match.end()
        if spelling := _spelling(match, text):
            yield match.start(), match.end(), spelling


def _spelling(match: re.Match[str], text: str) -> str | None:
    """One spelling; None where the words are no quantity after all."""
    found = match.groupdict()
    if found["hour"] or found["hour24"]:
        return _time(found)
    if found["day"]:
        return _WEEKDAYS[folded(found["day"])[:3]]
    if found["month"]:
        return _month(found["month"], text, match.start())
    if (words := found["words"]) and words.lower() == "one" and _follows(_PRONOUN_ONE, text, match.start()):
        return None
    return _amount(found)


def _follows(kind: re.Pattern[str], text: str, at: int) -> bool:
    """Whether a single space, and before it such a word, stand before this place."""
    end = begin = at - 1
    if end < 0 or not text[end].isspace():
        return False
    while begin > 0 and (text[begin - 1].isalnum() or text[begin - 1] == "_"):
        begin -= 1
    return kind.fullmatch(text, begin, end) is not None


def _time(found: dict[str, str | None]) -> str:
    if found["hour24"]:
        return f"t{int(found['hour24'])}:{found['minute24']}"
    minutes = int(found["hour"] or 0) % 12 * 60 + int(found["minute"] or 0)
    if (found["half"] or "").lower().startswith("p"):
        minutes += _DAY_MINUTES
    return f"t{minutes // 60}:{minutes % 60:02}"


def _month(name: str, text: str, at: int) -> str | None:
    """`may` and `march` are months only where they look like one."""
    name = folded(name)
    doubtful = name in ("may", "march") and not _follows(_MAY_IS_A_MONTH, text, at)
    return None if doubtful else _MONTHS[name[:3]]


def _amount(found: dict[str, str | None]) -> str:
    money = _MONEY.get((found["sign"] or "").strip().lower(), "")
    scale, unit = (found["scale"] or "").strip().lower(), _unit((found["unit"] or "").strip(" -").lower())
    if scale == "m" and not money:  # metres, or millions of nothing that is named
        scale, unit = "", "m"
    value = _spelled(found["words"]) if found["words"] else _digits(found["digits"] or "0", scale)
    if unit in _WHOLE and value.isdigit() and len(value) <= _MOST_DIGITS:
        times, unit = _WHOLE[unit]
        value = str(int(value) * times)
    ordinal = "#" if found["ordinal"] else ""
    return f"{ordinal}{value}{money or unit}"


def _digits(digits: str, scale: str) -> str:
    plain = digits.replace(",", "")
    if plain.count(".") > 1 or len(plain) > _MOST_DIGITS:
        return plain
    factor = _SHORT_SCALES.get(scale) or _SCALES.get(scale) or 1
    whole, _, part = plain.partition(".")
    if factor > 1:
        scaled = int(whole + part.ljust(9, "0")[:9]) * factor
        whole, part = str(scaled // 10**9), f"{scaled % 10**9:09}".rstrip("0")
    part = part.rstrip("0")
    return f"{whole}.{part}" if part else whole


def _spelled(words: str) -> str:
    total, group = 0, 0
    for word in re.split(r"[\s-]+", words.lower()):
        if word in _WORDS:
            group += _WORDS[word]
        elif word == "hundred":
            group = max(group, 1) * 100
        elif word in _SCALES:
            total, group = total + max(group, 1) * _SCALES[word], 0
    return str(total + group)


def _unit(word: str) -> str:
    if not word:
        return ""
    known = _UNITS.get(word) or _UNITS.get(word.removesuffix("s"))
    return known or _MONEY.get(word) or word
