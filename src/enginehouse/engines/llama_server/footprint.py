"""How much memory a llama-server will take, before it has ever been measured."""

from collections.abc import Mapping

from enginehouse.engines.llama_server.flags import parse_flags
from enginehouse.engines.metadata import ModelCard
from enginehouse.errors import InvalidRequest
from enginehouse.types import Deployment

__all__ = ["estimated_bytes"]

_BYTES: Mapping[str, float] = {
    "f32": 4,
    "f16": 2,
    "bf16": 2,
    "q8_0": 34 / 32,
    "q5_1": 24 / 32,
    "q5_0": 22 / 32,
    "q4_1": 20 / 32,
    "q4_0": 18 / 32,
    "iq4_nl": 18 / 32,
}
"""Bytes a number of the key-value cache takes, scales included."""

_PROGRAM = 64 * 1024 * 1024
"""The process itself and llama.cpp's compute buffers at the bundled engine's batch size, as measured."""


def estimated_bytes(deployment: Deployment, card: ModelCard) -> int:
    """Weights, key-value cache for the whole context of all slots, and the program."""
    return (
        card.size + _PROGRAM + round(_tokens(deployment, card) * (card.kv_numbers or 0) * _cache_bytes(deployment))
    )


def _tokens(deployment: Deployment, card: ModelCard) -> int:
    """Tokens of all slots together."""
    flags = _flags(deployment)
    if given := flags.get("ctx_size"):
        return int(str(given))
    if deployment.context_length:
        return deployment.context_length * deployment.slots
    return card.context_length or 4096


def _cache_bytes(deployment: Deployment) -> float:
    """The mean over keys and values."""
    flags = _flags(deployment)
    kinds = (str(flags.get(f"cache_type_{which}", "f16")) for which in ("k", "v"))
    return sum(_BYTES.get(kind, 2) for kind in kinds) / 2


def _flags(deployment: Deployment) -> Mapping[str, object]:
    """What can be understood of the flags; a user's own binary may have others."""
    try:
        return vars(parse_flags(deployment.flags))
    except InvalidRequest:
        return {}
