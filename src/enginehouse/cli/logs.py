"""`enginehouse logs`: what the engine of a model writes, or what becomes of requests; the latest, and on."""

import asyncio
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import quote

from enginehouse.cli.console import for_terminal
from enginehouse.cli.registration import service_of
from enginehouse.cli.service import Service

__all__ = ["line_of", "run_logs"]


def run_logs(
    model: str | None,
    *,
    lines: int,
    follow: bool,
    config: Path | None,
    url: str | None,
    key: str | None,
    as_json: bool,
) -> None:
    """Print them.

    Args:
        model: whose engine's lines; without one, requests.
        lines: how many of the latest.
        follow: whether to go on with what comes, until Ctrl-C.

    Raises:
        EnginehouseError: nobody answers, or the service refuses.
    """
    asyncio.run(_printed(service_of(config, url, key), model, lines=lines, follow=follow, as_json=as_json))


async def _printed(
    where: tuple[str, str | None], model: str | None, *, lines: int, follow: bool, as_json: bool
) -> None:
    async with Service(*where) as service:
        if model is not None:
            await _engine(service, quote(model, safe=""), lines=lines, follow=follow, as_json=as_json)
            return
        latest = await service.get(f"/v1/telemetry/requests?limit={lines}")
        for one in reversed(latest["data"]):
            _print(one, as_json=as_json)
        if follow:
            async with service.events("/v1/events") as events:
                async for name, data in events:
                    for one in data["requests"] if name == "requests" else ():
                        _print(one, as_json=as_json)


async def _engine(service: Service, model: str, *, lines: int, follow: bool, as_json: bool) -> None:
    if not follow:
        told = await service.get(f"/v1/models/{model}/logs?lines={lines}")
        for line in told["lines"]:
            print(json.dumps({"line": line}) if as_json else for_terminal(line))
        return
    async with service.events(f"/v1/models/{model}/logs/stream?lines={lines}") as events:
        async for _, data in events:
            print(json.dumps(data) if as_json else for_terminal(data["line"]), flush=True)


def _print(one: Mapping[str, Any], *, as_json: bool) -> None:
    print(json.dumps(one) if as_json else for_terminal(line_of(one)), flush=True)


def line_of(one: Mapping[str, Any]) -> str:
    """A request on one line."""
    error, status = one["error"], one["status"]
    said = f"{status or one['outcome']}{' ' + error['code'] if error else ''}"
    model = one["model"] or one["requested_model"] or "-"
    took, tokens = one["timings_ms"]["total"], one["usage"]["total_tokens"]
    return (
        f"{one['timestamp'][:19]} {model} {one['user_id']} {said} {took:.0f} ms {tokens} tokens "
        f"cache={one['cache'] or '-'} {one['request_id']}"
    )
