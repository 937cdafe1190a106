"""What `enginehouse sessions` does: it asks a running service, as the holder of the key that it shows."""

import asyncio
import json
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, Protocol, TypeVar
from urllib.parse import quote

import typer
from rich.table import Table

from enginehouse.cli.console import for_terminal, remarks, results
from enginehouse.cli.registration import service_of
from enginehouse.cli.service import Service

__all__ = ["Asks", "every", "run_delete", "run_export", "run_list", "run_show"]

_ROOT = "/api/v1/sessions"
_PAGE = 1000

T = TypeVar("T")


class Asks(Protocol):
    """A service, as far as this needs it."""

    async def change(self, method: str, path: str, body: None) -> dict[str, Any]:
        """Ask, and read JSON."""
        ...


def run_list(most: int, *, config: Path | None, url: str | None, key: str | None, as_json: bool) -> None:
    """Print the caller's sessions, the last changed first.

    Raises:
        EnginehouseError: nobody answers, or the service refuses.
    """
    found = _ask(config, url, key, lambda service: every(service, _ROOT, most))
    if as_json:
        typer.echo(json.dumps(found, indent=2))
        return
    table = Table("Session", "Title", "Model", "Messages", "Changed", box=None, pad_edge=False)
    for item in found:
        told = (item[name] for name in ("id", "title", "model", "message_count", "updated_at"))
        table.add_row(*(for_terminal(str(value or "")) for value in told))
    results().print(table)


def run_show(session_id: str, *, config: Path | None, url: str | None, key: str | None, as_json: bool) -> None:
    """Print a session, as a page for people or as JSON with the messages of its branch.

    Raises:
        EnginehouseError: nobody answers, or there is no such session.
    """
    path = _path(session_id)
    if not as_json:
        page = _ask(config, url, key, lambda service: service.file(f"{path}/export?format=markdown"))
        typer.echo(for_terminal(page.decode()), nl=False)
        return

    async def both(service: Service) -> dict[str, Any]:
        session = await service.change("GET", path, None)
        return {**session, "messages": await every(service, f"{path}/messages")}

    typer.echo(json.dumps(_ask(config, url, key, both), indent=2))


def run_export(
    session_id: str, form: str, output: Path | None, *, config: Path | None, url: str | None, key: str | None
) -> None:
    """Write a session to a file, or to standard output.

    Raises:
        EnginehouseError: nobody answers, or there is no such session.
    """
    whole = _ask(config, url, key, lambda service: service.file(f"{_path(session_id)}/export?format={form}"))
    if output is None:
        sys.stdout.buffer.write(whole)
        return
    output.write_bytes(whole)
    remarks().print(f"{session_id} is in {output}.")


def run_delete(session_id: str, *, config: Path | None, url: str | None, key: str | None, as_json: bool) -> None:
    """Delete a session.

    Raises:
        EnginehouseError: nobody answers, or there is no such session.
    """
    answer = _ask(config, url, key, lambda service: service.change("DELETE", _path(session_id), None))
    typer.echo(json.dumps(answer, indent=2) if as_json else f"{session_id} is deleted.")


async def every(service: Asks, path: str, most: int | None = None) -> list[dict[str, Any]]:
    """What a list has, page after page.

    Args:
        most: how many of it; all when left out.

    Raises:
        EnginehouseError: nobody answers, or the service refuses.
    """
    found: list[dict[str, Any]] = []
    cursor = ""
    while most is None or len(found) < most:
        limit = _PAGE if most is None else min(_PAGE, most - len(found))
        page = await service.change("GET", f"{path}?limit={limit}{cursor}", None)
        found += page["data"]
        if page["next_cursor"] is None:
            break
        cursor = f"&cursor={quote(page['next_cursor'], safe='')}"
    return found


def _ask(config: Path | None, url: str | None, key: str | None, work: Callable[[Service], Awaitable[T]]) -> T:
    async def asked() -> T:
        async with Service(*service_of(config, url, key)) as service:
            return await work(service)

    return asyncio.run(asked())


def _path(session_id: str) -> str:
    return f"{_ROOT}/{quote(session_id, safe='')}"
