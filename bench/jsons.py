"""What it costs to look into a JSON body, library by library."""

import json
from collections.abc import Callable
from importlib import import_module
from importlib.metadata import version
from itertools import cycle
from timeit import Timer
from typing import Any

import msgspec
from msgspec import Struct
from pydantic import BaseModel, ConfigDict

__all__ = ["Cost", "costs"]

_REPEATS = 7
_TEXT = "the quick brown fox jumps over the lazy dog and is gone. " * 3


class Cost(Struct, frozen=True):
    """Microseconds of one operation: the best of several rounds, since all that disturbs only adds."""

    operation: str
    microseconds: float


class _Head(Struct):
    model: str
    stream: bool | None = None


class _Chat(BaseModel):
    model_config = ConfigDict(extra="allow")

    model: str
    messages: list[dict[str, Any]]


def costs(body_bytes: int) -> list[Cost]:
    """Every library on a conversation of about that size; a library that is not installed is left out."""
    body = _conversation(body_bytes)
    return [Cost(name, _best(run, body)) for name, run in [*_with_msgspec(), *_with_orjson(), *_with_others()]]


def _conversation(body_bytes: int) -> bytes:
    """A chat request as clients write it: short turns, and the parameters after them."""
    turns = (
        {"role": role, "content": f'Turn {number}: "caf\u00e9",\n{_TEXT}'}
        for number, role in enumerate(cycle(("user", "assistant")))
    )
    messages: list[dict[str, str]] = []
    while len(body := _request(messages)) < body_bytes:
        messages.append(next(turns))
    return body


def _request(messages: list[dict[str, str]]) -> bytes:
    asked = {"model": "mock", "messages": messages, "temperature": 0.7, "max_tokens": 256, "stream": True}
    return json.dumps(asked).encode()


Operation = tuple[str, Callable[[bytes], object]]


def _with_msgspec() -> list[Operation]:
    library = f"msgspec {version('msgspec')}"
    fields = msgspec.json.Decoder(dict[str, msgspec.Raw])

    def rename(body: bytes) -> bytes:
        parts = fields.decode(body)
        parts["model"] = msgspec.Raw(b'"other"')
        return msgspec.json.encode(parts)

    return [
        (f"{library}: two fields into a Struct", msgspec.json.Decoder(_Head).decode),
        (f"{library}: whole", msgspec.json.decode),
        (f"{library}: change `model`, rest raw", rename),
    ]


def _with_orjson() -> list[Operation]:
    """orjson is no dependency; it is measured where somebody has installed it."""
    try:
        orjson: Any = import_module("orjson")
    except ImportError:
        return []

    def rename(body: bytes) -> bytes:
        whole = orjson.loads(body)
        whole["model"] = "other"
        return orjson.dumps(whole)

    library = f"orjson {version('orjson')}"
    return [(f"{library}: whole", orjson.loads), (f"{library}: change `model`", rename)]


def _with_others() -> list[Operation]:
    def rename(body: bytes) -> bytes:
        whole = json.loads(body)
        whole["model"] = "other"
        return json.dumps(whole).encode()

    return [
        ("json: whole", json.loads),
        ("json: change `model`", rename),
        (f"pydantic {version('pydantic')}: validate", _Chat.model_validate_json),
    ]


def _best(run: Callable[[bytes], object], body: bytes) -> float:
    timer = Timer(lambda: run(body))
    number = max(timer.autorange()[0] // 4, 1)
    return min(timer.repeat(_REPEATS, number)) / number * 1e6
