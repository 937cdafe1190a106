"""Questions as the cache sees them: what is asked, in one way of writing it, whoever wrote it and in what order.

Two questions are the same when everything that may change an answer is the same to the last byte. What is left out
is named here, and nothing else is.
"""

import json
from collections.abc import Callable, Sequence
from typing import Any, Protocol, cast

import msgspec
from msgspec import structs

from enginehouse.errors import InvalidRequest
from enginehouse.types.generation import Generation, Json, Role, Text

__all__ = ["Question", "Texts", "Told", "Written"]

_NO_MATTER = frozenset(
    {
        *("model", "stream", "stream_options", "keep_alive", "metadata"),
        *("prompt_cache_key", "prompt_cache_retention", "service_tier"),
    }
)
"""Fields that change nothing in what is said; the model is part of the scope, as it was resolved."""
_END_USERS = frozenset({"user", "safety_identifier"})
"""Who asks the caller to ask: it matters as long as answers are not shared."""
_NO_MATTER_SHARED = _NO_MATTER | _END_USERS

_written = msgspec.json.Encoder(order="sorted").encode


class Question(Protocol):
    """What is asked, as far as finding an answer to it goes."""

    family: str
    """Of dialects or routes; its answers are found by no other."""

    def canonical(self, *, shared: bool) -> bytes:
        """All of it in one way of writing; empty when it has none.

        Args:
            shared: whether several users may have the answer.
        """
        ...

    def apart(self, *, shared: bool) -> tuple[bytes, str] | None:
        """All but the words of the last user turn, and these words; None when there are none to be set apart."""
        ...

    def words(self) -> str | None:
        """These words alone."""
        ...

    def generation(self) -> Generation | None:
        """In our words; None when it is none, or cannot be understood."""
        ...


class Written:
    """A request as its caller wrote it.

    Args:
        family: the caller's dialect.
        body: JSON.
        read: understands it.
    """

    def __init__(self, family: str, body: bytes, read: Callable[[], Generation]) -> None:
        self.family = family
        self._body = body
        self._read = read
        self._known: Json | None = None

    def canonical(self, *, shared: bool) -> bytes:
        """The body's fields in order; empty when it is no object, or says something twice where that is a danger.

        Of a field that stands there twice an engine may read the other one: who knows that could have an answer
        kept for a question that was never asked.
        """
        fields = self._fields(shared=shared)
        return b"" if fields is None or (shared and _says_twice(self._body)) else _written(fields)

    def apart(self, *, shared: bool) -> tuple[bytes, str] | None:
        """The last message's text, where it is a user's and holds nothing else."""
        fields = self._fields(shared=shared)
        if fields is None or (name := _told_in(fields)) is None:
            return None
        found = _set_apart(fields[name])
        return None if found is None else (_written({**fields, name: found[0]}), found[1])

    def words(self) -> str | None:
        """The last message's text."""
        fields = self._decoded()
        if fields is None or (name := _told_in(fields)) is None:
            return None
        found = _set_apart(fields[name])
        return None if found is None else found[1]

    def generation(self) -> Generation | None:
        """None when the body passes through although we do not understand it."""
        try:
            return self._read()
        except InvalidRequest:
            return None

    def _fields(self, *, shared: bool) -> Json | None:
        fields = self._decoded()
        if fields is None:
            return None
        without = _NO_MATTER_SHARED if shared else _NO_MATTER
        said = {name: value for name, value in fields.items() if name not in without}
        if not shared and "metadata" in fields and (who := _end_user(fields)) is not None:
            said["metadata"] = {"user_id": who}
        return said

    def _decoded(self) -> Json | None:
        """The body's fields, read once; None when it is no object."""
        if self._known is None:
            try:
                fields: Any = msgspec.json.decode(self._body)
            except (msgspec.MsgspecError, ValueError, OverflowError, RecursionError):
                return None
            self._known = cast("Json", fields) if isinstance(fields, dict) else None
        return self._known


class Told:
    """A request in our words, for routes that have no dialect."""

    family = "own"

    def __init__(self, generation: Generation) -> None:
        self._generation = generation

    def canonical(self, *, shared: bool) -> bytes:
        """All of it but the name of the model."""
        return _written(self._without(shared=shared))

    def apart(self, *, shared: bool) -> tuple[bytes, str] | None:
        """The text of the last turn, where it is a user's and holds nothing else."""
        generation, words = self._without(shared=shared), self.words()
        if words is None:
            return None
        *before, last = generation.turns
        empty = structs.replace(last, parts=tuple(Text(text="") for _ in last.parts))
        return _written(structs.replace(generation, turns=(*before, empty))), words

    def words(self) -> str | None:
        """The text of the last turn."""
        turns = self._generation.turns
        if not turns or turns[-1].role is not Role.USER:
            return None
        parts = turns[-1].parts
        texts = [part.text for part in parts if isinstance(part, Text) and not part.extra]
        return "\n".join(texts) if len(texts) == len(parts) else None

    def generation(self) -> Generation | None:
        """As it was told."""
        return self._generation

    def _without(self, *, shared: bool) -> Generation:
        generation = self._generation
        extra = {name: value for name, value in generation.extra.items() if name not in _NO_MATTER}
        return structs.replace(generation, model="", user=None if shared else generation.user, extra=extra)


class Texts:
    """Texts, or the tokens of texts, whose vectors are wanted."""

    family = "vectors"

    def __init__(self, texts: Sequence[str] | Sequence[Sequence[int]]) -> None:
        self._texts = texts

    def canonical(self, *, shared: bool) -> bytes:
        """The texts."""
        del shared
        return _written(self._texts)

    def apart(self, *, shared: bool) -> None:
        """A vector is of these very texts."""
        del shared

    def words(self) -> None:
        """None stand apart."""

    def generation(self) -> None:
        """Nothing is generated."""


def _told_in(fields: Json) -> str | None:
    """The field that holds the conversation."""
    return next((name for name in ("messages", "input") if name in fields), None)


def _end_user(fields: Json) -> object:
    """Whom Anthropic's `metadata` names."""
    match fields.get("metadata"):
        case {"user_id": who}:
            return cast("object", who)
        case _:
            return None


def _set_apart(messages: object) -> tuple[object, str] | None:
    """The messages without the last one's words, and these; None when it is not a user's, or holds more."""
    if isinstance(messages, str):
        return "", messages
    if not isinstance(messages, list) or not messages:
        return None
    *before, last = cast("list[Any]", messages)
    if not isinstance(last, dict) or cast("Json", last).get("role") != "user":
        return None
    found = _emptied(cast("Json", last).get("content"))
    return None if found is None else ([*before, {**cast("Json", last), "content": found[0]}], found[1])


def _emptied(content: object) -> tuple[object, str] | None:
    """The content without its words, and the words; None when there is more in it than words."""
    if isinstance(content, str):
        return "", content
    if not isinstance(content, list):
        return None
    texts = [_text_of(part) for part in cast("list[object]", content)]
    words = [text for text in texts if text is not None]
    return ([""] * len(words), "\n".join(words)) if len(words) == len(texts) else None


def _text_of(part: object) -> str | None:
    fields = cast("Json", part) if isinstance(part, dict) else {}
    text: object = fields.get("text")
    plain = fields.keys() == {"type", "text"} and fields["type"] in ("text", "input_text")
    return text if plain and isinstance(text, str) else None


def _says_twice(body: bytes) -> bool:
    """Whether some object of the body has two fields of one name."""

    def look(pairs: list[tuple[str, Any]]) -> None:
        if len(pairs) > 1 and len({name for name, _ in pairs}) != len(pairs):
            raise _Twice

    try:
        json.loads(body, object_pairs_hook=look)
    except (_Twice, ValueError, RecursionError):
        return True
    return False


class _Twice(Exception):
    """An object has two fields of one name."""
