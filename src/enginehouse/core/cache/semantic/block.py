"""The vectors of scopes in memory: a byte a number, searched from end to end; pure but for the arrays it keeps.

A small scope is compared row by row. In a large one a first look compares only the signs of the numbers, a bit
each, and the rows that agree in most of them are then compared as all rows are in a small one.
"""

from collections.abc import Sequence

import numpy as np
from msgspec import Struct
from numpy.typing import NDArray

__all__ = ["Block", "Near", "View", "quantised"]

Floats = NDArray[np.float32]
Bytes = NDArray[np.int8]

_ROUGHLY = 4096
"""Rows from which the signs are looked at first."""
_SHORTLIST = 512
"""Rows that are compared in full after that, and those that agree no less than the last of them."""
_CHUNK = 512
_LARGEST = 127
_GROWTH = 8
"""A block grows by one part in so many."""
_BITS = 64


class Near(Struct, frozen=True, array_like=True):
    """A row that was found."""

    number: int
    cosine: float


def quantised(vector: Sequence[float] | Floats) -> tuple[bytes, float]:
    """A unit vector as int8, and the scale that brings it back."""
    values = np.asarray(vector, dtype=np.float32)
    values = values / max(float(np.linalg.norm(values)), 1e-12)
    scale = max(float(np.abs(values).max()), 1e-12) / _LARGEST
    return np.rint(values / scale).astype(np.int8).tobytes(), scale


class View(Struct, frozen=True, eq=False):
    """The rows of a block at one moment, for searching; later rows are not in it."""

    vectors: Bytes
    numbers: NDArray[np.int64]
    scales: Floats
    signs: NDArray[np.uint64] | None
    """Bits of 64 numbers a row: so one look goes through memory in its order."""

    def nearest(self, query: Floats, limit: int) -> list[Near]:
        """The rows nearest to a unit vector, best first."""
        if len(self.numbers) == 0:
            return []
        rows = self._shortlist(query)
        vectors, scales, numbers = (
            (self.vectors, self.scales, self.numbers)
            if rows is None
            else (self.vectors[rows], self.scales[rows], self.numbers[rows])
        )
        cosines = np.minimum(_products(vectors, query) * scales, 1.0)  # rounded rows may be a little longer
        return [Near(int(numbers[place]), float(cosines[place])) for place in _top(cosines, limit)]

    def _shortlist(self, query: Floats) -> NDArray[np.intp] | None:
        """The rows that agree in most signs; None for all, where there are few."""
        if self.signs is None:
            return None
        asked = _signs(np.sign(query).astype(np.int8)[None, :])[:, 0]
        differing = np.zeros(len(self.numbers), dtype=np.int16)
        for words, word in zip(self.signs, asked, strict=True):
            differing += np.bitwise_count(words ^ word)
        last = np.partition(differing, _SHORTLIST)[_SHORTLIST]
        return np.flatnonzero(differing <= last)


class Block:
    """The vectors of one scope."""

    def __init__(self, rows: Sequence[tuple[int, bytes, float]]) -> None:
        size = len(rows[0][1]) if rows else 0
        joined = bytearray().join(vector for _, vector, _ in rows)
        self._count = len(rows)
        self._vectors: Bytes = np.frombuffer(joined, dtype=np.int8).reshape(len(rows), size)
        self._numbers = np.array([number for number, _, _ in rows], dtype=np.int64)
        self._scales = np.array([scale for _, _, scale in rows], dtype=np.float32)
        self._signs = _signs(self._vectors) if self.large else None

    def __len__(self) -> int:
        return self._count

    @property
    def size(self) -> int:
        """Bytes in memory."""
        signs = 0 if self._signs is None else self._signs.nbytes
        return self._vectors.nbytes + self._numbers.nbytes + self._scales.nbytes + signs

    @property
    def large(self) -> bool:
        """Whether a search takes so long that others should go on meanwhile."""
        return self._count >= _ROUGHLY

    def view(self) -> View:
        """Its rows as they are now."""
        count = self._count
        signs = None if self._signs is None else self._signs[:, :count]
        return View(self._vectors[:count], self._numbers[:count], self._scales[:count], signs)

    def put(self, number: int, vector: bytes, scale: float) -> None:
        """Add a row."""
        row = self._count
        if row == len(self._numbers):
            self._grow(len(vector))
        self._vectors[row] = np.frombuffer(vector, dtype=np.int8)
        self._numbers[row], self._scales[row] = number, scale
        self._count += 1
        if self._signs is not None:
            self._signs[:, row] = _signs(self._vectors[row : row + 1])[:, 0]
        elif self.large:
            self._signs = _signs(self._vectors)

    def drop(self, number: int) -> None:
        """Take a row out; the last one takes its place."""
        for place in np.nonzero(self._numbers[: self._count] == number)[0]:
            self._count -= 1
            for column in (self._vectors, self._numbers, self._scales):
                column[place] = column[self._count]
            if self._signs is not None:
                self._signs[:, place] = self._signs[:, self._count]
        if self._signs is not None and not self.large:
            self._signs = None

    def _grow(self, size: int) -> None:
        more = max(16, len(self._numbers) // _GROWTH)
        self._vectors = np.concatenate([self._vectors.reshape(-1, size), np.zeros((more, size), np.int8)])
        self._numbers = np.concatenate([self._numbers, np.zeros(more, np.int64)])
        self._scales = np.concatenate([self._scales, np.zeros(more, np.float32)])
        if self._signs is not None:
            self._signs = np.pad(self._signs, ((0, 0), (0, more)))


def _products(vectors: Bytes, query: Floats) -> Floats:
    """Of every row with the query, some rows at a time: floats of them all would not stay in the processor's cache.

    No BLAS: for so little work its threads wait for each other longer than they work.
    """
    products = np.empty(len(vectors), dtype=np.float32)
    for start in range(0, len(vectors), _CHUNK):
        some = vectors[start : start + _CHUNK].astype(np.float32)
        np.einsum("ij,j->i", some, query, out=products[start : start + _CHUNK], optimize=False)
    return products


def _signs(vectors: Bytes) -> NDArray[np.uint64]:
    """A bit for each number, whether it is above zero: one column a vector, one row for each 64 numbers of it."""
    bits = np.packbits(vectors > 0, axis=1)
    missing = -bits.shape[1] % (_BITS // 8)
    return np.ascontiguousarray(np.pad(bits, ((0, 0), (0, missing))).view(np.uint64).T)


def _top(cosines: Floats, limit: int) -> NDArray[np.intp]:
    if len(cosines) <= limit:
        return np.argsort(-cosines)
    best = np.argpartition(-cosines, limit)[:limit]
    return best[np.argsort(-cosines[best])]
