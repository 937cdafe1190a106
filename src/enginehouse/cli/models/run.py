"""`enginehouse models`: what a running service has, or what one would have."""

import asyncio
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from rich.filesize import decimal
from rich.table import Table

from enginehouse.cli.addresses import address
from enginehouse.cli.catalogue import artifacts_of, configured, size_of
from enginehouse.cli.console import remarks, results
from enginehouse.cli.effective import effective
from enginehouse.cli.service import Service
from enginehouse.errors import SourceError
from enginehouse.settings.schema import Settings
from enginehouse.stores.artifacts import Artifacts
from enginehouse.telemetry.logs import configure_logs
from enginehouse.types import Model

__all__ = ["show_models", "table"]

COLUMNS: Mapping[str, str] = {
    "Model": "id",
    "Type": "type",
    "Engine": "provider",
    "Status": "status",
    "Context": "context_length",
    "Size": "size",
}


class Listing(NamedTuple):
    """Models as the service's list describes them, and who said so."""

    url: str | None
    """The service; None when they come from the settings."""
    models: Sequence[Mapping[str, Any]]


def show_models(*, config: Path | None, url: str | None, key: str | None, as_json: bool) -> None:
    """Print the models of the service at `url`, else of the configured one, else those of the settings.

    Raises:
        EnginehouseError: `url` was given and does not answer, or the settings are wrong.
    """
    configure_logs("warning", "auto")
    listing = _listing(config, url, key)
    if as_json:
        print(json.dumps({"url": listing.url, "models": listing.models}, indent=2))
        return
    if listing.url is None:
        remarks().print("No service answers; these are the models as configured.", style="dim", soft_wrap=True)
    results().print(table(listing.models))


def _listing(config: Path | None, url: str | None, key: str | None) -> Listing:
    if url is not None:
        return asyncio.run(_ask(url, key))
    settings = effective(config).settings
    default = address(settings.server)
    keys = (secret.get_secret_value() for secret in settings.auth.api_keys)
    answer = asyncio.run(_ask_ours(default, key or next(keys, None))) if default else None
    return answer or Listing(None, _configured(settings))


async def _ask(url: str, key: str | None) -> Listing:
    async with Service(url, key) as service:
        return Listing(service.url, await service.models())


async def _ask_ours(url: str, key: str | None) -> Listing | None:
    async with Service(url, key) as service:
        return Listing(service.url, await service.models()) if await service.is_ours() else None


def _configured(settings: Settings) -> list[Mapping[str, Any]]:
    artifacts = artifacts_of(settings)
    return [_described(model, artifacts) for model in configured(settings).models()]


def _described(model: Model, artifacts: Artifacts) -> Mapping[str, Any]:
    """A model in the words of the service's list; its status says where its files are."""
    deployment = model.deployments[0]
    status, size = (
        _files(deployment.source, deployment.sha256, artifacts) if deployment.source else ("remote", None)
    )
    return {
        "id": model.id,
        "aliases": model.aliases,
        "type": model.kind.value,
        "provider": deployment.engine.value,
        "status": status,
        "context_length": model.context_length,
        "size": size,
    }


def _files(source: Any, sha256: Any, artifacts: Artifacts) -> tuple[str, int | None]:
    try:
        path = artifacts.local(source, sha256)
    except SourceError:
        return "bad source", None
    return ("local", size_of(path)) if path else ("to pull", None)


def table(models: Sequence[Mapping[str, Any]]) -> Table:
    """A column for everything that at least one model has."""
    columns = {title: field for title, field in COLUMNS.items() if any(model.get(field) for model in models)}
    table = Table(box=None, pad_edge=False, header_style="bold")
    for title in columns:
        table.add_column(title, justify="right" if title in {"Context", "Size"} else "left")
    for model in models:
        table.add_row(*(_cell(field, model.get(field)) for field in columns.values()))
    return table


def _cell(field: str, value: Any) -> str:
    if value is None:
        return "-"
    return decimal(value) if field == "size" else str(value)
