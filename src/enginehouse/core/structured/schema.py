"""A caller's JSON schema: looked over before a model is asked, and answers held against it, all in bounded time."""

import asyncio
import sys
from typing import TYPE_CHECKING, Any, cast

import msgspec
from msgspec import Struct

from enginehouse.core.structured import judge
from enginehouse.core.structured.judge import Unusable, flaws_of, is_right, validator_of
from enginehouse.errors import InvalidRequest
from enginehouse.types.generation import Json

if TYPE_CHECKING:
    import jsonschema_rs

__all__ = ["Bench", "Flaw", "Schema"]

_MAX_BYTES = 256 * 1024
_MAX_DEPTH = 64
_MAX_NODES = 20_000
_HEAVY = 2_000
"""Steps through a schema, every reference followed, from which on it is a child's business."""
_PATTERNS = 4
_BUDGET = 300_000
"""Steps through the schema times characters of the value up to which it is said at once whether it is right."""
_TELLING = 5_000
"""The same for what is wrong: to tell that costs the validator a hundred times as much."""
_MATCHING = 20
"""Steps that a pattern is worth, by what the slowest one takes to match."""
_MAX_CHAIN = 200
_ELSEWHERE = frozenset({"$dynamicRef", "$recursiveRef", "$id", "$anchor", "$dynamicAnchor"})
_PARAM = "json_schema"


class Flaw(Struct, frozen=True):
    """What is wrong with an answer."""

    path: str
    """A JSON pointer into it; empty for the whole of it."""
    message: str


class _Judgement(Struct):
    unusable: str | None = None
    flaws: list[tuple[str, str]] = []


class Schema:
    """A schema that can be used. Light cases are judged on the spot, heavy ones by a child."""

    def __init__(
        self, bench: "Bench", fields: Json, weight: int, validator: "jsonschema_rs.Validator | None"
    ) -> None:
        self.fields = fields
        self._bench = bench
        self._weight = weight
        self._validator = validator

    async def flaws(self, value: Any) -> tuple[Flaw, ...]:
        """What is wrong with a value; nothing when it meets the schema.

        Raises:
            InvalidRequest: to tell takes longer than the bench sits; with such a schema it is the caller's fault.
        """
        text = msgspec.json.encode(value)
        case = {"schema": self.fields, "value": msgspec.Raw(text)}
        steps = self._weight * len(text)
        if self._validator is None or steps > _BUDGET:
            found = await self._bench.judge(case)
        elif is_right(self._validator, value):
            found = []
        elif steps <= _TELLING:
            found = flaws_of(self._validator, value)
        else:
            found = await self._told(case)
        return tuple(Flaw(path, message) for path, message in found)

    async def _told(self, case: dict[str, Any]) -> list[tuple[str, str]]:
        """What is wrong with a value that is known to be so, however long it takes to say what."""
        try:
            return await self._bench.judge(case)
        except InvalidRequest:
            return [("", "it does not meet the schema")]


class Bench:
    """Where schemas are looked over and values judged.

    Args:
        seconds: longest time of one judgement.
        children: how many judge at once.
    """

    def __init__(self, *, seconds: float = 5.0, children: int = 2) -> None:
        self._seconds = seconds
        self._seats = asyncio.Semaphore(children)

    async def look_over(self, fields: Json) -> Schema:
        """A schema that may be used.

        Raises:
            InvalidRequest: too large or too deep, no schema, or it refers to something that is not in it.
        """
        patterns = _looked_through(fields)
        text = msgspec.json.encode(fields)
        if len(text) > _MAX_BYTES:
            raise _refused(f"is larger than {_MAX_BYTES // 1024} KiB")
        weight = _weight(fields)
        if weight > _HEAVY or patterns > _PATTERNS:
            await self.judge({"schema": msgspec.Raw(text)})
            return Schema(self, fields, weight, None)
        try:
            return Schema(self, fields, max(weight, _MATCHING if patterns else 0), validator_of(fields))
        except Unusable as error:
            raise _refused(f"cannot be used: {error}") from None

    async def judge(self, case: dict[str, Any]) -> list[tuple[str, str]]:
        """Flaws as a child finds them, which is stopped when its time is over.

        Raises:
            InvalidRequest: the schema cannot be used, or its time was over.
        """
        async with self._seats:
            answer = await self._asked(msgspec.json.encode(case))
        try:
            judgement = msgspec.json.decode(answer, type=_Judgement)
        except msgspec.DecodeError:
            raise _refused(f"takes more than {self._seconds:g} s, or too much memory, to check") from None
        if judgement.unusable is not None:
            raise _refused(f"cannot be used: {judgement.unusable}")
        return judgement.flaws

    async def _asked(self, case: bytes) -> bytes:
        """What the child answers; nothing when it did not come to its end."""
        argv = (sys.executable, "-I", judge.__file__, str(int(self._seconds) + 1))
        pipe = asyncio.subprocess.PIPE
        child = await asyncio.create_subprocess_exec(
            *argv, stdin=pipe, stdout=pipe, stderr=asyncio.subprocess.DEVNULL
        )
        try:
            async with asyncio.timeout(self._seconds):
                answer, _ = await child.communicate(case)
        except TimeoutError:
            return b""
        finally:
            if child.returncode is None:
                child.kill()
                await child.wait()
        return answer


def _refused(why: str) -> InvalidRequest:
    return InvalidRequest(f"The JSON schema {why}.", param=_PARAM)


def _looked_through(fields: Json) -> int:
    """How many patterns a schema holds.

    Raises:
        InvalidRequest: it is too deep, or has too many parts.
    """
    patterns = nodes = 0
    level: list[Any] = [fields]
    for _ in range(_MAX_DEPTH):
        nodes += len(level)
        if nodes > _MAX_NODES:
            raise _refused(f"has more than {_MAX_NODES} parts")
        patterns += sum(_patterns(node) for node in level)
        level = [child for node in level for child in _children(node)]
        if not level:
            return patterns
    raise _refused(f"is nested deeper than {_MAX_DEPTH} levels")


def _patterns(node: Any) -> int:
    if not isinstance(node, dict):
        return 0
    fields = cast("Json", node)
    return ("pattern" in fields) + len(_children(fields.get("patternProperties")))


def _children(node: Any) -> list[Any]:
    if isinstance(node, dict):
        return list(cast("Json", node).values())
    return cast("list[Any]", node) if isinstance(node, list) else []


class _Endless(Exception):
    """A schema refers to itself, or to where only the validator finds."""


def _weight(fields: Json) -> int:
    """Steps through a schema with every reference followed; more than any limit when there is no end to them."""
    try:
        return _Scale(fields).weigh(fields, 0)
    except _Endless:
        return sys.maxsize


class _Scale:
    """Weighs every part once, so that a schema which doubles with each reference is not followed to its end."""

    def __init__(self, root: Json) -> None:
        self._root = root
        self._known: dict[int, int | None] = {}

    def weigh(self, node: Any, chain: int) -> int:
        if not isinstance(node, dict | list):
            return 1
        place = id(cast("object", node))
        if place in self._known or chain > _MAX_CHAIN:
            known = self._known.get(place)
            if known is None:
                raise _Endless
            return known
        self._known[place] = None
        weight = 1 + sum(self.weigh(child, chain + 1) for child in self._parts(cast("Json | list[Any]", node)))
        self._known[place] = weight
        return weight

    def _parts(self, node: Json | list[Any]) -> list[Any]:
        if isinstance(node, list):
            return node
        if not _ELSEWHERE.isdisjoint(node):
            raise _Endless
        reference = node.get("$ref")
        return [*node.values(), self._target(reference)] if isinstance(reference, str) else [*node.values()]

    def _target(self, reference: str) -> Any:
        if not reference.startswith("#"):
            raise _Endless
        found: Any = self._root
        for step in reference[1:].split("/")[1:]:
            name = step.replace("~1", "/").replace("~0", "~")
            found = cast("Json", found).get(name) if isinstance(found, dict) else None
        if found is None:
            raise _Endless
        return found
