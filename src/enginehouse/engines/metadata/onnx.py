"""The card of an ONNX folder; the graph itself is not loaded."""

import os
from pathlib import Path
from typing import BinaryIO

from enginehouse.engines.metadata.card import ModelCard, capabilities_of
from enginehouse.engines.onnx.folder import read_folder
from enginehouse.errors import ModelLoadFailed
from enginehouse.types import EngineName

__all__ = ["describe_onnx"]

FIXED = {1: 8, 5: 4}
"""Bytes of protobuf's fields of fixed length, by wire type."""

MOST_FIELDS = 10_000
"""Of the outermost message; a model has a handful and one a function."""

LARGEST = 2**40
"""Bytes no field has."""

VARINT, LENGTH_FIRST = 0, 2
"""The other wire types: a number in as few bytes as it needs, and one that says how many bytes follow it."""


def describe_onnx(path: Path) -> ModelCard:
    """What the folder's JSON files say. Blocks for a few milliseconds.

    Raises:
        ModelLoadFailed: a file that must be there is missing, broken or not all there.
        OSError: a file cannot be read.
    """
    folder = read_folder(path)
    if not is_whole(folder.model):
        raise ModelLoadFailed(f"{path.name}/{folder.model.name} is not a whole ONNX file.")
    files = [folder.model, *folder.model.parent.glob(f"{folder.model.name}*data")]
    stats = [file.stat() for file in files]
    return ModelCard(
        path=path,
        kind=folder.kind,
        engine=EngineName.ONNX,
        name=path.name,
        architecture=folder.architecture,
        context_length=folder.max_length,
        capabilities=capabilities_of(folder.kind),
        embedding_size=folder.embedding_size,
        quantisation=folder.model.stem.partition("_")[2] or None,
        size=sum(stat.st_size for stat in stats),
        modified=int(max(stat.st_mtime for stat in stats)),
        pooling="+".join(folder.pooling),
        labels=folder.labels,
    )


def is_whole(file: Path) -> bool:
    """Whether the file is a run of protobuf fields that ends where the last of them does.

    The weights are inside one field, so that a copy that is still under way ends too early.
    """
    with file.open("rb") as stream:
        end = os.fstat(stream.fileno()).st_size
        for _ in range(MOST_FIELDS):
            if not skip_field(stream):
                return False
            if stream.tell() >= end:
                return stream.tell() == end
        return False


def skip_field(stream: BinaryIO) -> bool:
    """Step over one field; False if it is none."""
    tag = varint(stream)
    if tag is None or tag >> 3 == 0:
        return False
    wire = tag & 7
    length = FIXED.get(wire)
    if wire in (VARINT, LENGTH_FIRST):
        number = varint(stream)
        length = 0 if wire == VARINT and number is not None else number
    if length is None or length > LARGEST:
        return False
    stream.seek(length, os.SEEK_CUR)
    return True


def varint(stream: BinaryIO) -> int | None:
    """A whole number of up to ten bytes; None if the file ends in it or it is longer."""
    value = 0
    for shift in range(0, 70, 7):
        byte = stream.read(1)
        if not byte:
            return None
        value |= (byte[0] & 0x7F) << shift
        if byte[0] < 0x80:
            return value
    return None
