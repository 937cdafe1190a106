"""Keyed digests of what begins alike: HMAC-SHA256, by which nobody who lacks the key can tell what was asked."""

from hashlib import sha256

from blake3 import blake3

__all__ = ["Keyed", "brief"]

_BLOCK = 64
"""Bytes that SHA-256 takes at a time; no key is longer."""
_INNER = bytes(byte ^ 0x36 for byte in range(256))
_OUTER = bytes(byte ^ 0x5C for byte in range(256))
_LONG = 16 * 1024
_LONG_MARK = b"blake3 "
"""What is asked is written as JSON, or as its caller wrote it, and begins otherwise."""


class Keyed:
    """Makes digests: HMAC-SHA256, put together from its two hashes as RFC 2104 has it.

    What they begin with is hashed once; to copy two hashes takes less than to copy one of `hmac`'s.

    Args:
        key: at most 64 bytes.
        beginning: of all that is digested.
    """

    __slots__ = ("_inner", "_outer")

    def __init__(self, key: bytes, beginning: bytes) -> None:
        assert len(key) <= _BLOCK, "keys are digests themselves"
        block = key.ljust(_BLOCK, b"\0")
        self._inner = sha256(block.translate(_INNER) + beginning)
        self._outer = sha256(block.translate(_OUTER))

    def digest(self, rest: bytes) -> bytes:
        """Of the beginning and this, 32 bytes."""
        inner, outer = self._inner.copy(), self._outer.copy()
        inner.update(rest)
        outer.update(inner.digest())
        return outer.digest()


def brief(asked: bytes) -> bytes:
    """What is asked, as keyed digests are made of it: when it is long, a digest of it, which several can share.

    BLAKE3 (https://github.com/BLAKE3-team/BLAKE3-specs) takes a third of what SHA-256 does for 64 KiB.
    """
    return asked if len(asked) <= _LONG else _LONG_MARK + blake3(asked).digest()
