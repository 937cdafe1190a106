"""`enginehouse vectors`: collections of a running service, listed, written to a file and read back from one.

A file is NDJSON: a line that says what the collection was made as, a line a point, and a line with their number, by
which a file that was cut off is known. What was exported from one store may be imported into another.
"""

import asyncio
import json
import sys
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Mapping
from contextlib import AbstractAsyncContextManager, ExitStack
from pathlib import Path
from typing import IO, Any, Protocol
from urllib.parse import quote

import msgspec
from rich.table import Table

from enginehouse.cli.console import remarks, results, seen
from enginehouse.cli.registration import service_of
from enginehouse.cli.service import Service
from enginehouse.errors import EnginehouseError, InvalidRequest

__all__ = ["Asks", "export", "restore", "run_export", "run_import", "run_list"]

_ROOT = "/v1/vector"
_FORMAT = "enginehouse-vectors-1"
_MADE_OF = ("vector_size", "distance", "embedding_model", "quantization", "payload_indexes")
_BATCH_LINES, _BATCH_BYTES = 1000, 8 * 1024 * 1024


class Asks(Protocol):
    """A service, as far as this needs it."""

    async def change(self, method: str, path: str, body: Mapping[str, Any] | None) -> dict[str, Any]:
        """Send JSON and read JSON."""
        ...

    def lines(self, path: str, body: Mapping[str, Any]) -> AbstractAsyncContextManager[AsyncIterator[bytes]]:
        """Send JSON and read NDJSON, line by line."""
        ...

    async def send_lines(self, path: str, lines: bytes) -> dict[str, Any]:
        """Send NDJSON and read JSON."""
        ...


def run_list(*, config: Path | None, url: str | None, key: str | None, as_json: bool) -> None:
    """Print the caller's collections.

    Raises:
        EnginehouseError: nobody answers, or the service refuses.
    """
    answer = asyncio.run(_with_service(config, url, key, lambda s: s.change("GET", f"{_ROOT}/collections", None)))
    if as_json:
        print(json.dumps(answer, indent=2))
        return
    table = Table("Collection", "Points", "Size", "Distance", "Model", "Status", box=None, pad_edge=False)
    for item in answer["collections"]:
        told = ("name", "points_count", "vector_size", "distance", "embedding_model", "status")
        table.add_row(
            *(str(item.get(field) or "") if field != "points_count" else str(item.get(field, "")) for field in told)
        )
    results().print(table)


def run_export(name: str, output: Path | None, *, config: Path | None, url: str | None, key: str | None) -> None:
    """Write a collection to a file, which appears only when it is complete, or to standard output.

    Raises:
        EnginehouseError: nobody answers, the service refuses, or the stream breaks off.
    """
    if output is None:
        count = asyncio.run(_with_service(config, url, key, lambda s: export(s, name, sys.stdout.buffer.write)))
    else:
        scratch = output.with_name(f"{output.name}.part")
        with scratch.open("wb") as file:
            count = asyncio.run(_with_service(config, url, key, lambda s: export(s, name, file.write)))
        scratch.replace(output)
    remarks().print(f"{count} points of {name} written.")


def run_import(
    source: Path | None, name: str | None, *, config: Path | None, url: str | None, key: str | None, as_json: bool
) -> None:
    """Make a collection out of a file, or of standard input.

    Raises:
        EnginehouseError: nobody answers, the service refuses, or this is no complete export.
    """
    with ExitStack() as stack:
        file = sys.stdin.buffer if source is None else stack.enter_context(source.open("rb"))
        lines = seen("lines", _read(file))
        made, count = asyncio.run(_with_service(config, url, key, lambda s: restore(s, lines, name)))
    if as_json:
        print(json.dumps({"collection": made, "points": count}, indent=2))
    else:
        remarks().print(f"{count} points are in {made}.")


async def export(service: Asks, name: str, write: Callable[[bytes], Any]) -> int:
    """Write a collection; how many points it had.

    Raises:
        EnginehouseError: the service refuses, or the stream breaks off.
    """
    about = await service.change("GET", f"{_ROOT}/collections/{quote(name, safe='')}", None)
    made_of = {field: about[field] for field in _MADE_OF if about.get(field) is not None}
    write(msgspec.json.encode({"format": _FORMAT, "name": name, **made_of}) + b"\n")
    count = 0
    body = {"collection_name": name, "with_vector": True}
    async with service.lines(f"{_ROOT}/points/scroll", body) as lines:
        async for line in lines:
            if line.startswith(b'{"error"'):
                raise EnginehouseError(f"The export broke off: {json.loads(line)['error'].get('message')}")
            write(line + b"\n")
            count += 1
    write(msgspec.json.encode({"points": count}) + b"\n")
    return count


async def restore(service: Asks, lines: Iterator[bytes], name: str | None) -> tuple[str, int]:
    """Make a collection out of an export; its name and how many points it has.

    Raises:
        InvalidRequest: this is no export, or it was cut off; what came before is in the collection.
        EnginehouseError: the service refuses, for example since there is a collection of that name.
    """
    head = _object(next(lines, b""))
    if head.get("format") != _FORMAT:
        raise InvalidRequest("This is no export of a collection.")
    made = str(name or head["name"])
    shape = {field: value for field, value in head.items() if field in _MADE_OF}
    await service.change("POST", f"{_ROOT}/collections", {"name": made, **shape})
    count, end = 0, None
    for batch in _batches(lines):
        if batch[-1].startswith(b'{"points":'):
            end = _object(batch.pop()).get("points")
        if batch:
            await service.send_lines(f"{_ROOT}/points?collection_name={quote(made, safe='')}", b"\n".join(batch))
        count += len(batch)
    if end != count:
        raise InvalidRequest(f"The export is not complete: {count} points came, {end or 'more'} were written.")
    return made, count


async def _with_service(
    config: Path | None, url: str | None, key: str | None, work: Callable[[Service], Any]
) -> Any:
    async with Service(*service_of(config, url, key)) as service:
        return await work(service)


def _read(file: IO[bytes]) -> Iterator[bytes]:
    return (line.strip() for line in file if line.strip())


def _batches(lines: Iterable[bytes]) -> Iterator[list[bytes]]:
    """Lines that fit into one call; the line of the end is the last of its batch."""
    batch: list[bytes] = []
    size = 0
    for line in lines:
        batch.append(line)
        size += len(line)
        if len(batch) == _BATCH_LINES or size >= _BATCH_BYTES:
            yield batch
            batch, size = [], 0
    if batch:
        yield batch


def _object(line: bytes) -> dict[str, Any]:
    try:
        return msgspec.json.decode(line, type=dict[str, Any])
    except msgspec.MsgspecError:
        return {}
