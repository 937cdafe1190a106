"""The card of a GGUF model, in one file or several parts."""

import re
import struct
from glob import escape
from pathlib import Path
from typing import TYPE_CHECKING, cast

from enginehouse.engines.metadata.card import ModelCard, capabilities_of, takes_tools
from enginehouse.errors import ModelLoadFailed
from enginehouse.types import EngineName, Kind

if TYPE_CHECKING:
    from enginehouse.engines.metadata.header import Header

__all__ = ["describe_gguf", "part_of", "siblings"]

CORRUPT = (ValueError, LookupError, ArithmeticError, TypeError, struct.error)
"""What the reader trips over in a file that is not what it should be."""

PART = re.compile(r"^(?P<name>.+)-(?P<number>\d{5})-of-(?P<count>\d{5})$")
ENCODERS = ("bert", "t5encoder")
"""Ends of architecture names that read text and write none."""

POOLINGS = {1: "mean", 2: "cls", 3: "last", 4: "rank"}
"""llama.cpp's numbers; 0 is a model that is not pooled."""


def part_of(path: Path) -> tuple[str, int]:
    """A file's name without extension and part number, and that number; 1 for a model in one file."""
    match = PART.match(path.stem)
    return (match["name"], int(match["number"])) if match else (path.stem, 1)


def siblings(path: Path) -> list[Path]:
    """The files there are of the model that `path` belongs to, in order."""
    match = PART.match(path.stem)
    if match is None:
        return [path] if path.is_file() else []
    return sorted(path.parent.glob(f"{escape(match['name'])}-?????-of-{match['count']}{path.suffix}"))


def parts(path: Path) -> list[Path]:
    """All files of the model that `path` belongs to, in order.

    Raises:
        ModelLoadFailed: a part is missing.
    """
    files = siblings(path)
    match = PART.match(path.stem)
    count = int(match["count"]) if match else 1
    if not files or len(files) < count:
        raise ModelLoadFailed(f"{path.name} is not all there: {len(files)} of {count} files.")
    return files


def describe_gguf(path: Path) -> ModelCard:
    """Read a GGUF model's header, and those of its other parts. Blocks for tens of milliseconds.

    Raises:
        ModelLoadFailed: a file is corrupt, not all there or no model, or the reader is not installed.
    """
    files = parts(path)
    try:
        return card_of(files, [open_header(file) for file in files])
    except CORRUPT as error:
        raise ModelLoadFailed(f"{path.name} is not a whole GGUF file: {error}") from error
    except OSError as error:
        raise ModelLoadFailed(f"{path.name} cannot be read: {error.strerror}") from error


def card_of(files: list[Path], headers: "list[Header]") -> ModelCard:
    """What the headers say."""
    head = headers[0]
    refuse_other_types(files[0], head)
    architecture = text(head, "general.architecture")
    pooling = POOLINGS.get(number(head, f"{architecture}.pooling_type") or 0)
    kind = kind_of(architecture, pooling)
    template = text(head, "tokenizer.chat_template") or ""
    stats = [file.stat() for file in files]
    return ModelCard(
        path=files[0],
        kind=kind,
        engine=EngineName.LLAMA_SERVER,
        name=text(head, "general.name") or part_of(files[0])[0],
        architecture=architecture,
        context_length=number(head, f"{architecture}.context_length"),
        capabilities=capabilities_of(kind, chat_template=bool(template), tools=takes_tools(template)),
        embedding_size=number(head, f"{architecture}.embedding_length"),
        parameters=sum(header.parameters for header in headers),
        quantisation=quantisation(head),
        kv_numbers=kv_numbers(head, architecture),
        layers=number(head, f"{architecture}.block_count"),
        size=sum(stat.st_size for stat in stats),
        modified=int(max(stat.st_mtime for stat in stats)),
        chat_template=bool(template),
        pooling=pooling,
        labels=labels(head, architecture),
    )


def open_header(file: Path) -> "Header":
    """The header of one file."""
    try:
        from enginehouse.engines.metadata.header import Header
    except ImportError as error:
        raise ModelLoadFailed(
            f"Reading GGUF files needs the package {error.name}; run: pip install 'enginehouse[local]'"
        ) from error
    return Header(file)


def refuse_other_types(path: Path, head: "Header") -> None:
    """GGUF also holds adapters, image encoders and training statistics, which do not answer by themselves."""
    given = text(head, "general.type") or "model"
    if given != "model" or text(head, "general.architecture") == "clip":
        raise ModelLoadFailed(f"{path.name} is no model of its own (its type is {given}); name it in the flags.")


def kind_of(architecture: str | None, pooling: str | None) -> Kind:
    """A model that pools embeds or ranks; so does an encoder, which has nothing else to give."""
    if pooling == "rank":
        return Kind.RERANK
    if pooling is not None or (architecture or "").endswith(ENCODERS):
        return Kind.EMBEDDING
    return Kind.CHAT


def quantisation(head: "Header") -> str | None:
    """The mix of number formats, as llama.cpp names it: `Q4_K_M`, `F16`."""
    from gguf.constants import LlamaFileType

    given = number(head, "general.file_type")
    if given is None or given not in set(LlamaFileType):
        return None
    return LlamaFileType(given).name.removeprefix("MOSTLY_").removeprefix("ALL_")


def kv_numbers(head: "Header", architecture: str | None) -> int | None:
    """Keys and values of one token; some models have other numbers of heads in each layer."""
    layers = number(head, f"{architecture}.block_count")
    heads = number(head, f"{architecture}.attention.head_count")
    width = number(head, f"{architecture}.embedding_length")
    if not layers or not heads or not width:
        return None
    key = number(head, f"{architecture}.attention.key_length") or width // heads
    value = number(head, f"{architecture}.attention.value_length") or width // heads
    given = head.value(f"{architecture}.attention.head_count_kv")
    per_layer = cast("list[int]", given) if isinstance(given, list) else [given or heads] * layers
    return sum(int(count) for count in cast("list[int]", per_layer)) * (key + value)


def labels(head: "Header", architecture: str | None) -> tuple[str, ...]:
    """A classifier's classes."""
    given = head.value(f"{architecture}.classifier.output_labels")
    return tuple(str(label) for label in cast("list[object]", given)) if isinstance(given, list) else ()


def text(head: "Header", key: str) -> str | None:
    """A value, if it is text."""
    value = head.value(key)
    return value if isinstance(value, str) else None


def number(head: "Header", key: str) -> int | None:
    """A value, if it is a whole number."""
    value = head.value(key)
    return value if isinstance(value, int) and not isinstance(value, bool) else None
