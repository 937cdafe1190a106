"""How much memory a llama-server will take, before it has ever been measured."""

from collections.abc import Mapping
from typing import cast

from enginehouse.engines.llama_server.flags import understood_flags
from enginehouse.engines.metadata import ModelCard, Weight
from enginehouse.types import Deployment

__all__ = ["divided_bytes", "estimated_bytes"]

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

_GPU_BUFFERS = 512 * 1024 * 1024
"""The driver's context and llama.cpp's compute buffers there: a guess, until a process is measured."""

_PLACING = frozenset({"-mg", "--main-gpu", "-sm", "--split-mode", "-dev", "--device"})
"""Flags with which the user says where layers go."""


def estimated_bytes(deployment: Deployment, card: ModelCard) -> int:
    """Weights, key-value cache for the whole context of all slots, and the program, all in main memory."""
    return card.size + _PROGRAM + _cache(deployment, card)


def divided_bytes(deployment: Deployment, card: ModelCard) -> Weight:
    """The same on a machine with GPUs: as much there as the flags want, by default all of it."""
    flags = understood_flags(deployment.flags)
    blocks = card.layers or 1
    wanted = _number(flags, "gpu_layers", -1)
    layers = blocks + 1 if wanted < 0 else min(wanted, blocks + 1)  # the output is one more
    if not layers:
        return Weight(ram=estimated_bytes(deployment, card))
    weights = round(card.size * layers / (blocks + 1))
    cache = _cache(deployment, card)
    moved = 0 if flags.get("no_kv_offload") else round(cache * min(layers, blocks) / blocks)
    ram = card.size - weights + _PROGRAM + cache - moved
    split = _split(flags)
    fixed = bool(split) or not _PLACING.isdisjoint(flag.split("=")[0] for flag in deployment.flags)
    return Weight(ram=ram, vram=weights + moved + _GPU_BUFFERS, fixed=fixed, split=split)


def _split(flags: Mapping[str, object]) -> tuple[float, ...]:
    """Shares of the visible GPUs, where the flags say them."""
    if flags.get("split_mode") == "none":
        return (*[0.0] * _number(flags, "main_gpu", 0), 1.0)
    shares = flags.get("tensor_split")
    return cast("tuple[float, ...]", shares) if isinstance(shares, tuple) else ()


def _number(flags: Mapping[str, object], name: str, otherwise: int) -> int:
    given = flags.get(name, otherwise)
    return given if isinstance(given, int) else otherwise


def _cache(deployment: Deployment, card: ModelCard) -> int:
    return round(_tokens(deployment, card) * (card.kv_numbers or 0) * _cache_bytes(deployment))


def _tokens(deployment: Deployment, card: ModelCard) -> int:
    """Tokens of all slots together."""
    flags = understood_flags(deployment.flags)
    if given := flags.get("ctx_size"):
        return int(str(given))
    if deployment.context_length:
        return deployment.context_length * deployment.slots
    return card.context_length or 4096


def _cache_bytes(deployment: Deployment) -> float:
    """The mean over keys and values."""
    flags = understood_flags(deployment.flags)
    kinds = (str(flags.get(f"cache_type_{which}", "f16")) for which in ("k", "v"))
    return sum(_BYTES.get(kind, 2) for kind in kinds) / 2
