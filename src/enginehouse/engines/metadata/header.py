"""A GGUF file's header in milliseconds: values and tensor shapes, stepping over the vocabulary."""

import struct
from pathlib import Path
from typing import Any, cast

import numpy as np
import numpy.typing as npt
from gguf.constants import GGUFEndian, GGUFValueType
from gguf.gguf_reader import GGUFReader, ReaderField

__all__ = ["Header"]

SHORT = 64
"""Arrays up to this length are read (labels, languages, per-layer counts); longer ones are vocabularies."""

LONGEST_STRING = 16 * 1024 * 1024
"""Bytes; the longest honest string is a chat template of some tens of kilobytes."""

MOST_DIMENSIONS = 4
"""Of a tensor, as llama.cpp has it."""


class Header(GGUFReader):
    """The library's reader, but for two things.

    It makes four objects of every token of the vocabulary, which takes 2 s for 49 000 tokens; here an array
    longer than `SHORT` is measured and stepped over, which takes 30 ms. And lengths are checked before they
    are believed, so that a corrupt file is refused and not read into memory.
    """

    def __init__(self, path: Path) -> None:
        """Read the header of one file; every tensor must lie inside it.

        Raises:
            ValueError, LookupError, ArithmeticError, TypeError, struct.error: the file is no GGUF, is corrupt or
                not all there.
            OSError: the file cannot be read.
        """
        with np.errstate(over="raise"):
            super().__init__(path)

    def value(self, key: str) -> Any:
        """The value of a key, None when it has none (or a vocabulary)."""
        field = self.fields.get(key)
        return field.contents() if field is not None and field.data else None

    @property
    def parameters(self) -> int:
        """Weights in this file."""
        return sum(tensor.n_elements for tensor in self.tensors)

    def _get_str(self, offset: int) -> tuple[npt.NDArray[np.uint64], npt.NDArray[np.uint8]]:
        length = int(self._get(offset, np.uint64)[0])
        if length > min(LONGEST_STRING, len(self.data) - offset):
            raise ValueError(f"a string of {length} bytes does not fit in the file")
        return super()._get_str(offset)

    def _get_tensor_info_field(self, orig_offs: int) -> ReaderField:
        length = int(self._get(orig_offs, np.uint64)[0])
        dimensions = int(self._get(orig_offs + 8 + length, np.uint32)[0])
        if dimensions > MOST_DIMENSIONS:
            raise ValueError(f"a tensor of {dimensions} dimensions")
        return super()._get_tensor_info_field(orig_offs)

    def _get_field_parts(
        self, orig_offs: int, raw_type: int
    ) -> tuple[int, list[npt.NDArray[Any]], list[int], list[GGUFValueType]]:
        if raw_type != GGUFValueType.ARRAY:
            return super()._get_field_parts(orig_offs, raw_type)
        item = GGUFValueType(int(self._get(orig_offs, np.uint32)[0]))
        count = int(self._get(orig_offs + 4, np.uint64)[0])
        if count <= SHORT:
            return super()._get_field_parts(orig_offs, raw_type)
        start = orig_offs + 12
        return self._end(start, item, count) - orig_offs, [], [], [GGUFValueType.ARRAY, item]

    def _end(self, start: int, item: GGUFValueType, count: int) -> int:
        """Where an array ends."""
        scalar = self.gguf_scalar_to_np.get(item)
        if scalar is not None:
            return start + count * np.dtype(scalar).itemsize
        if item != GGUFValueType.STRING:
            raise ValueError(f"an array of {count} {item.name.lower()}s")
        unpack = struct.Struct("<Q" if self.endianess == GGUFEndian.LITTLE else ">Q").unpack_from
        data = memoryview(cast("Any", self.data))  # arrays are buffers, though untyped as such
        for _ in range(count):
            start += 8 + unpack(data, start)[0]
        return start
