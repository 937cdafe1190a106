"""How much may be asked and spent: in words as people write them, and as numbers."""

import re

from msgspec import Struct

__all__ = [
    "Allowance",
    "Rate",
    "Rates",
]


_UNITS = {"day": 86_400, "hour": 3600, "minute": 60, "second": 1}
_RATE = re.compile(r"(?P<count>\d{1,15})\s*/\s*(?:(?P<times>\d{1,6})\s*)?(?P<unit>second|minute|hour|day)s?")


class Rate(Struct, frozen=True):
    """So many in any span of so many seconds; in words `100/hour`, or `5/30 seconds`."""

    count: int
    seconds: int

    @classmethod
    def of(cls, text: str) -> "Rate":
        """Read the words.

        Raises:
            ValueError: they are none.
        """
        found = _RATE.fullmatch(text.strip().lower())
        if found is None or not int(found["count"]) or not int(found["times"] or 1):
            raise ValueError(f"{text!r} is no rate; write 100/hour, 10/minute or 5/30 seconds")
        return cls(int(found["count"]), int(found["times"] or 1) * _UNITS[found["unit"]])

    def __str__(self) -> str:
        """The words."""
        unit = next(name for name, seconds in _UNITS.items() if self.seconds % seconds == 0)
        times = self.seconds // _UNITS[unit]
        return f"{self.count}/{unit}" if times == 1 else f"{self.count}/{times} {unit}s"


class Rates(Struct, frozen=True, kw_only=True):
    """How much may be asked; what is None is not limited. In words `100/hour, 5000 tokens/minute, 3 at once`."""

    requests: Rate | None = None
    tokens: Rate | None = None
    concurrent: int | None = None
    """Requests that may run, or wait, at the same time."""

    @classmethod
    def of(cls, text: str) -> "Rates":
        """Read the words; `unlimited` is no limit.

        Raises:
            ValueError: they are none, or say the same twice.
        """
        found: dict[str, Rate | int] = {}
        for part in text.lower().split(",") if text.strip().lower() != "unlimited" else ():
            name, value = _limit(part.strip())
            if name in found:
                raise ValueError(f"{text!r} limits {name} twice")
            found[name] = value
        return cls(**found)  # pyright: ignore[reportArgumentType] - each name has its own type

    def __str__(self) -> str:
        """The words."""
        tokens = None if self.tokens is None else str(self.tokens).replace("/", " tokens/")
        seats = None if self.concurrent is None else f"{self.concurrent} at once"
        said = [str(part) for part in (self.requests, tokens, seats) if part is not None]
        return ", ".join(said) or "unlimited"


def _limit(text: str) -> tuple[str, Rate | int]:
    if (seats := re.fullmatch(r"([1-9]\d{0,8})\s*at once", text)) is not None:
        return "concurrent", int(seats[1])
    without = re.sub(r"\s*tokens\s*/", "/", text)
    return "requests" if without == text else "tokens", Rate.of(re.sub(r"\s*requests\s*/", "/", without))


class Allowance(Struct, frozen=True, kw_only=True):
    """What may be spent in a period."""

    dollars: str
    """As a decimal string."""
    period: str = "month"
    """`day`, `month` or `total`."""
