"""Reads what llama-server flags say about a model; the flags themselves stay as they were written."""

from collections.abc import Iterable, Mapping, Sequence
from itertools import pairwise
from typing import Any, cast

from enginehouse.settings.tree import Tree, get, table

__all__ = ["applied", "read"]

EMBEDDING = {"--embedding", "--embeddings"}
RERANK = {"--rerank", "--reranking"}
UNIFIED = {"-kvu", "--kv-unified"}
"""One cache for all slots: each may then use the whole context."""


def read(flags: Sequence[str], default_slots: int = 1) -> Tree:
    """The kind, the slots and the context length that the flags ask for, each only if they do.

    llama.cpp shares `--ctx-size` among its slots: what one sequence may hold is the size divided by them.
    """
    said: Tree = {}
    if RERANK.intersection(flags) or _value(flags, "--pooling") == "rank":
        said["kind"] = "rerank"
    elif EMBEDDING.intersection(flags):
        said["kind"] = "embedding"
    if slots := _number(_value(flags, "-np", "--parallel")):
        said["slots"] = slots
    if size := _number(_value(flags, "-c", "--ctx-size")):
        shares = 1 if UNIFIED.intersection(flags) else slots or default_slots
        said["context_length"] = max(1, size // shares)
    return said


def applied(data: Mapping[str, Any]) -> Tree:
    """Give every model of the raw settings what its flags say and its own keys do not."""
    models = table(data, "models")
    if models is None:
        return dict(data)
    slots = _number(get(data, "admission", "default_slots")) or 1
    return {**data, "models": {name: _with_flags(entry, slots) for name, entry in models.items()}}


def _with_flags(entry: Any, default_slots: int) -> Any:
    flags = get(entry, "flags")
    if not isinstance(flags, list | tuple):
        return entry
    texts = [str(flag) for flag in cast("Iterable[object]", flags)]
    own = {name: value for name, value in entry.items() if value is not None}
    return {**read(texts, _number(own.get("slots")) or default_slots), **own}


def _value(flags: Sequence[str], *names: str) -> str | None:
    """What follows a flag; the last one wins, as it does for llama-server."""
    values = [value for flag, value in pairwise(flags) if flag in names]
    return values[-1] if values else None


def _number(value: object) -> int | None:
    """A whole number over 0, or None: what is wrong is for others to say."""
    text = str(value)
    return int(text) or None if text.isdecimal() else None
