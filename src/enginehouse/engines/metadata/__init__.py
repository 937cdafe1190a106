"""What model files say of themselves: kind, context, size, number format, chat template."""

from enginehouse.engines.metadata.card import Capability, Facts, ModelCard, capabilities_of, takes_tools
from enginehouse.engines.metadata.cards import Cards, Fingerprint, describe, fingerprint
from enginehouse.engines.metadata.gguf import part_of
from enginehouse.engines.metadata.weight import Weight

__all__ = [
    "Capability",
    "Cards",
    "Facts",
    "Fingerprint",
    "ModelCard",
    "Weight",
    "capabilities_of",
    "describe",
    "fingerprint",
    "part_of",
    "takes_tools",
]
