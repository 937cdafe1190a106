"""What is known of a model, by its own files in whatever format, or by the server that has it."""

import re
from enum import StrEnum
from pathlib import Path

from msgspec import Struct

from enginehouse.types import EngineName, Kind

__all__ = ["Capability", "Facts", "ModelCard", "capabilities_of", "takes_tools"]


TOOLS = re.compile(r"\btools\b")
"""A chat template that takes tools names them."""


class Capability(StrEnum):
    """The words a model list uses for what a model can do; settings may add others."""

    CHAT = "chat"
    COMPLETION = "completion"
    TOOLS = "tools"
    JSON_SCHEMA = "json_schema"
    VISION = "vision"
    EMBEDDING = "embedding"
    RERANK = "rerank"
    CLASSIFICATION = "classification"


class Facts(Struct, frozen=True, kw_only=True):
    """What whoever has a model says of it. What is not said is None, or empty."""

    kind: Kind
    engine: EngineName
    """What can run it."""
    name: str = ""
    context_length: int | None = None
    """Tokens one text may hold."""
    capabilities: tuple[str, ...] = ()
    modified: int = 0
    """Unix seconds of its newest file."""


class ModelCard(Facts, frozen=True, kw_only=True):
    """One model, as its files describe it. What they do not say is None."""

    path: Path
    """The file, the first of several parts, or the folder."""
    architecture: str | None = None
    embedding_size: int | None = None
    """Numbers in one of its vectors."""
    parameters: int | None = None
    quantisation: str | None = None
    kv_numbers: int | None = None
    """Numbers one token takes in the key-value cache, over all layers."""
    layers: int | None = None
    """Blocks that can lie on a GPU one by one."""
    size: int = 0
    """Bytes of all its weights on disk."""
    chat_template: bool = False
    """Whether it says how a conversation is written."""
    pooling: str | None = None
    labels: tuple[str, ...] = ()
    """A classifier's classes, in the order of their numbers."""


def capabilities_of(kind: Kind, *, chat_template: bool = False, tools: bool = False) -> tuple[str, ...]:
    """What a local model of this kind can do; a model with no chat template only completes text."""
    match kind:
        case Kind.EMBEDDING:
            words = [Capability.EMBEDDING]
        case Kind.RERANK:
            words = [Capability.RERANK]
        case Kind.CLASSIFIER:
            words = [Capability.CLASSIFICATION]
        case Kind.CHAT:
            words = [Capability.CHAT] if chat_template else []
            words += [Capability.COMPLETION, Capability.JSON_SCHEMA]
            words += [Capability.TOOLS] if tools else []
    return tuple(word.value for word in words)


def takes_tools(template: str) -> bool:
    """Whether a chat template tells its model of tools."""
    return bool(TOOLS.search(template))
