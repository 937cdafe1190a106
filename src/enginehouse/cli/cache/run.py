"""`enginehouse cache`: how the cache of a running service does, and what shall go from it."""

import asyncio
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rich.table import Table

from enginehouse.cli.console import for_terminal, results
from enginehouse.cli.registration import service_of
from enginehouse.cli.service import Service

__all__ = ["run_clear", "run_stats"]


def run_stats(*, config: Path | None, url: str | None, key: str | None, as_json: bool) -> None:
    """Print how it does.

    Raises:
        EnginehouseError: nobody answers, or the service refuses.
    """
    answer = asyncio.run(_asked(config, url, key, "GET", "/v1/cache/stats", None))
    if as_json:
        print(json.dumps(answer, indent=2))
    else:
        results().print(table_of(answer))


def run_clear(
    which: Mapping[str, Any], *, config: Path | None, url: str | None, key: str | None, as_json: bool
) -> None:
    """Let go of what is like this, everything when nothing is said.

    Raises:
        EnginehouseError: nobody answers, or the service refuses.
    """
    answer = asyncio.run(_asked(config, url, key, "POST", "/v1/cache/clear", which))
    if as_json:
        print(json.dumps(answer, indent=2))
    else:
        results().print(f"{answer.get('cleared', 0)} entries are gone.")


def table_of(stats: Mapping[str, Any]) -> Table:
    """The figures a person asks first."""
    table = Table(box=None, pad_edge=False, show_header=False)
    saved: Mapping[str, Any] = stats.get("saved", {})
    rows = {
        "State": f"{'on' if stats.get('enabled') else 'off'}, {stats.get('backend')}, {stats.get('status')}",
        "Hits": f"{stats.get('hits')} ({stats.get('exact_hits')} exact, {stats.get('semantic_hits')} semantic)",
        "Misses": f"{stats.get('misses')}, and {stats.get('bypassed')} that were not looked for",
        "Hit rate": f"{100 * (stats.get('hit_rate') or 0):.1f} %",
        "Kept": f"{stats.get('entries')} answers, {stats.get('bytes')} of {stats.get('max_bytes')} bytes",
        "Saved": f"{saved.get('tokens')} tokens, ${saved.get('cost')}, {saved.get('seconds')} s of engines' work",
    }
    for name, value in rows.items():
        table.add_row(name, for_terminal(value))
    return table


async def _asked(
    config: Path | None, url: str | None, key: str | None, method: str, path: str, body: Mapping[str, Any] | None
) -> dict[str, Any]:
    async with Service(*service_of(config, url, key)) as service:
        return await service.change(method, path, body)
