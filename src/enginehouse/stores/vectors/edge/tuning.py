"""How the embedded index works: what may be turned."""

from msgspec import Struct

__all__ = ["Tuning"]


class Tuning(Struct, frozen=True, kw_only=True):
    """How the embedded index works."""

    index_bytes: int = 16 * 1024 * 1024
    """Bytes of vectors outside the graph from which on it is worth building."""
    quiet: float = 1.0
    """Seconds without a change that count as a quiet moment."""
    flush_bytes: int = 64 * 1024 * 1024
    """Bytes of vectors after which the log is folded into the files, quiet or not."""
    fsync: bool = False
    """Whether each change waits for the disk."""
    threads: int = 2
    """Threads that search."""
