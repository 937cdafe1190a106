"""Chunked transfer (RFC 9112, section 7.1), as far as both sides of the house have to know it."""

__all__ = ["ENDING", "LAST", "OPENINGS", "chunk"]

_SMALL = 1024
"""Bytes; most frames of a stream are smaller, and there are many."""
_SIZES = tuple(b"%x\r\n" % size for size in range(_SMALL))
ENDING = b"\r\n"
"""Of every chunk."""
LAST = b"0\r\n\r\n"
"""The end of a message without trailers."""


def _openings() -> tuple[bytes, ...]:
    """By the bytes of a whole chunk, how it begins; more than all of it, where none is that long."""
    openings = [bytes(_SMALL)] * _SMALL
    for opening, size in zip(_SIZES[1:], range(1, _SMALL), strict=True):
        whole = len(opening) + size + len(ENDING)
        if whole < _SMALL:
            openings[whole] = opening
    return tuple(openings)


OPENINGS = _openings()
"""How a small chunk that is not the last begins, by the bytes of all of it, as nearly everybody writes it."""


def chunk(data: bytes) -> bytes:
    """Some bytes, at least one, as a chunk of their own."""
    size = len(data)
    return (_SIZES[size] if size < _SMALL else b"%x\r\n" % size) + data + ENDING
