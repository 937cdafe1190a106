"""How long a peer is waited for, and how often."""

from msgspec import Struct

__all__ = ["PATIENT", "Patience"]


class Patience(Struct, frozen=True, kw_only=True):
    """How long a peer may take and how often a broken transfer is taken up again; all in seconds."""

    connect: float = 30.0
    silence: float = 60.0
    """Longest time without a byte. There is no limit on the whole: files are large and lines are slow."""
    pauses: tuple[float, ...] = (1.0, 2.0, 4.0, 8.0, 16.0)
    """Pause before each further try; a try that brought at least a mebibyte starts the row anew."""


PATIENT = Patience()
"""What an operator at a slow line wants."""
