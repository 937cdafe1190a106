"""What a request passes through, and for how long: written down as it happens, at next to no cost."""

import asyncio
from collections.abc import Iterable

from msgspec import Struct

__all__ = ["Phase", "Said", "Span"]


class Span(Struct, frozen=True, gc=False):
    """A stay in one phase; a request that is tried again has several of one name."""

    name: str
    """`identity`, `limits`, `cache`, `queue`, `load`, `upstream` or `ledger`."""
    began: float
    """Seconds, on the event loop's clock."""
    seconds: float


class Said:
    """What was said, for services that keep it: what is new in a prompt, and the answer.

    Args:
        most: characters of each.
    """

    def __init__(self, most: int) -> None:
        self.prompt = ""
        self._most = most
        self._answer: list[str] = []
        self._left = most

    @property
    def answer(self) -> str:
        """As far as it is kept."""
        return "".join(self._answer)

    def asked(self, texts: Iterable[str]) -> None:
        """This was asked."""
        self.prompt = "\n".join(texts)[: self._most]

    def begin(self) -> None:
        """Of an earlier try nothing was passed on."""
        self._answer, self._left = [], self._most

    def note(self, text: str) -> None:
        """This was answered next."""
        if self._left > 0:
            self._answer.append(text[: self._left])
            self._left -= len(text)


class Phase:
    """A context that adds its own span to a list, however it ends."""

    __slots__ = ("_began", "_name", "_spans", "_time")

    def __init__(self, spans: list[Span], name: str) -> None:
        self._spans = spans
        self._name = name

    def __enter__(self) -> None:
        self._time = asyncio.get_running_loop().time
        self._began = self._time()

    def __exit__(self, *_: object) -> None:
        self._spans.append(Span(self._name, self._began, self._time() - self._began))
