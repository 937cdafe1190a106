"""What a model takes when it is loaded, as bytes by kind of memory."""

from msgspec import Struct, structs

__all__ = ["Weight"]


class Weight(Struct, frozen=True, kw_only=True):
    """Bytes a deployment takes."""

    ram: int
    vram: int = 0
    """On all GPUs together."""
    fixed: bool = False
    """Whether its flags say on which GPUs; else the house chooses."""
    split: tuple[float, ...] = ()
    """What the flags say: shares of the visible GPUs, in order. Empty leaves it to the engine, which goes by their
    sizes."""

    @property
    def total(self) -> int:
        """All of it."""
        return self.ram + self.vram

    def times(self, factor: float) -> "Weight":
        """So much more or less of everything."""
        return structs.replace(self, ram=round(self.ram * factor), vram=round(self.vram * factor))
