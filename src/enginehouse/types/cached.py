"""A finished answer as it is kept: by its question's keyed digest, with what it is told apart by."""

from msgspec import Struct

__all__ = ["Entry"]


class Entry(Struct, frozen=True, kw_only=True, gc=False):
    """A finished answer, or a claim to one. Times are seconds since 1970."""

    key: bytes
    """Keyed digest, 16 bytes, of the whole question in its scope."""
    scope: bytes = b""
    """The same of all but the last user turn's words, where others that mean the same may be answered from it."""
    question: str = ""
    """Words of the last user turn, as long as `scope` is there."""
    answer: bytes
    """In our words (`types.answer.Answer`, or vectors), in msgpack."""
    writer: str
    """User on whose request it was made."""
    tenant: str = ""
    model: str
    """Id of the model that answered."""
    tags: tuple[str, ...] = ()
    asked: float
    """When the request came that it answers."""
    expires: float
    """End of its time in the exact cache."""
    timely: float | None = None
    """End of it where the question is about now, which is not looked into before then; None where it has none."""
    semantic_expires: float = 0.0
    """The same for questions that mean the same."""
    tokens: int = 0
    """That a hit need not read and write again."""
    cost: int | None = None
    """Picodollars that it has cost; None when the price is unknown."""
    seconds: float = 0.0
    """That the engine took for it."""

    @property
    def id(self) -> str:
        """Opaque name of the entry: the same question's next answer has the same."""
        return self.key.hex()

    @property
    def gone(self) -> float:
        """When nobody wants it any more."""
        soon, late = self.expires, self.semantic_expires
        return soon if soon > late else late  # noqa: FURB136 - a call less each time an answer is kept or used

    @property
    def size(self) -> int:
        """Bytes it takes, with what holds it."""
        words = len(self.question.encode("utf-8", "replace")) if self.question else 0
        return _OVERHEAD + len(self.answer) + words


_OVERHEAD = 512
"""Bytes of an entry beside its words: the struct, its digests, its place in the order of use."""
