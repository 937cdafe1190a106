"""The names of what answers: our own engines, and providers that are installed beside us."""

from enum import StrEnum
from functools import cache
from importlib.metadata import entry_points

__all__ = ["PROVIDERS", "EngineName", "installed_providers"]

PROVIDERS = "enginehouse.providers"
"""The entry points by which a package adds a provider: its name, and what connects to it."""


class EngineName(StrEnum):
    """What answers. The name of an installed provider is one as well: `EngineName("acme")`."""

    LLAMA_SERVER = "llama_server"
    OLLAMA = "ollama"
    OPENAI = "openai"
    ANTHROPIC = "anthropic"
    ONNX = "onnx"

    @property
    def here(self) -> bool:
        """Whether it runs on this machine and needs a model's files."""
        return self is EngineName.LLAMA_SERVER or self is EngineName.ONNX

    @classmethod
    def _missing_(cls, value: object) -> "EngineName | None":
        """A provider's name, made once; an unknown one stays unknown."""
        if not isinstance(value, str) or value not in _named():
            return None
        member = str.__new__(cls, value)
        member._name_ = value
        member._value_ = value
        return cls._value2member_map_.setdefault(value, member)  # pyright: ignore[reportReturnType] - one of ours


def installed_providers() -> tuple[EngineName, ...]:
    """Those that packages beside us add; the names of our own engines are taken."""
    own = {name.value for name in EngineName}
    return tuple(EngineName(name) for name in sorted(_named() - own))


@cache
def _named() -> frozenset[str]:
    """Looked for once: what is installed later counts after the next start."""
    return frozenset(entry_points(group=PROVIDERS).names)
