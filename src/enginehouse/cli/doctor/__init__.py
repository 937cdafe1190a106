"""`enginehouse doctor`: what is there, what is missing, and how to get it."""

import json
from collections.abc import Iterator, Mapping
from pathlib import Path

import msgspec
from rich.console import Console
from rich.text import Text

from enginehouse.cli.catalogue import artifacts_of, configured
from enginehouse.cli.console import results
from enginehouse.cli.doctor import setup
from enginehouse.cli.doctor.finding import Finding, Status, worst
from enginehouse.cli.doctor.fleet import look_at_fleet
from enginehouse.cli.doctor.machine import look_at_machine
from enginehouse.cli.doctor.packages import look_at_packages
from enginehouse.cli.doctor.servers import look_at_servers
from enginehouse.cli.doctor.stores import look_at_stores, together
from enginehouse.engines.metadata import Cards
from enginehouse.errors import SettingsError
from enginehouse.settings import Settings, current_environ, load, locate
from enginehouse.telemetry.logs import configure_logs
from enginehouse.types import Model

__all__ = ["Finding", "Status", "examine", "findings"]

SIGNS = {Status.OK: ("ok  ", "green"), Status.WARN: ("warn", "yellow"), Status.FAIL: ("FAIL", "bold red")}


def examine(*, config: Path | None, offline: bool, as_json: bool) -> int:
    """Look at everything and print it; returns the exit code: 1 if something needed is missing."""
    configure_logs("error", "auto")  # what it would warn of is a finding
    found: list[Finding] = []
    console = results()
    for finding in findings(config, current_environ(), offline=offline):
        found.append(finding)
        if not as_json:
            show(console, finding)
    if as_json:
        print(json.dumps({"status": worst(found), "findings": msgspec.to_builtins(found)}, indent=2))
    return int(worst(found) is Status.FAIL)


def findings(config: Path | None, environ: Mapping[str, str], *, offline: bool) -> Iterator[Finding]:
    """Every finding as it is made; settings that are wrong are one, and all else is looked at with the defaults."""
    path, settings, mistakes = _read(config, environ)
    models, clash = _models(settings)
    yield from look_at_machine()
    yield from look_at_packages(settings, models)
    yield setup.configuration(path, mistakes or clash)
    yield setup.exposure(settings)
    yield setup.llama_server(settings.engines.llama_server.path)
    yield setup.data_dir(settings.data_dir)
    local, cards = artifacts_of(settings).local, Cards()
    for model in models:
        yield from setup.model_files(model, local, cards.read)
    yield setup.port(settings.server)
    if offline:
        yield together(settings)
        fleet = ("fleet",) if settings.fleet.placement == "ray" else ()
        for name in ("stores", "servers", *fleet, "package index"):
            yield Finding(name, Status.OK, "not asked (--offline)")
    else:
        yield from look_at_stores(settings)
        yield from look_at_servers(models)
        yield from look_at_fleet(settings.fleet, models)
        yield setup.index(settings.sources.pypi_index, needed=setup.needs_index(models, local))


def _read(config: Path | None, environ: Mapping[str, str]) -> tuple[Path | None, Settings, str]:
    """The file, the settings, and what is wrong with them."""
    path = config
    try:
        path = locate(config, environ)
        return path, load(path, environ), ""
    except SettingsError as error:
        return path, Settings(), error.message


def _models(settings: Settings) -> tuple[tuple[Model, ...], str]:
    """The models, and why there are none."""
    try:
        return configured(settings).models(), ""
    except SettingsError as error:
        return (), error.message


def show(console: Console, finding: Finding) -> None:
    """One finding, and what to do about it below."""
    sign, style = SIGNS[finding.status]
    console.print(Text.assemble((sign, style), f"  {finding.name:<15} {finding.detail}"), soft_wrap=True)
    if finding.remedy:
        console.print(f"{'':21} {finding.remedy}", style="dim", soft_wrap=True)
