"""The cluster on which engines shall run: whether it is there, whether its nodes can run them, and models fit."""

import asyncio
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence

from enginehouse import __version__
from enginehouse.cli.doctor.finding import Finding, Status
from enginehouse.errors import SettingsError
from enginehouse.residency.fleet.replica import FLEET_ENGINES
from enginehouse.residency.fleet.views import Surveyed
from enginehouse.settings.schema import FleetSettings
from enginehouse.types import Model

__all__ = ["judge_fleet", "look_at_fleet"]

PATIENCE = 5.0
"""Seconds within which the head takes a connection; Ray itself would try for much longer."""
_FLEET = "fleet"


def look_at_fleet(settings: FleetSettings, models: Iterable[Model]) -> Iterator[Finding]:
    """What is wrong with the cluster that the settings name, if they name one."""
    if settings.placement == "local":
        return
    try:
        nodes = asyncio.run(_surveyed(settings))
    except SettingsError as error:
        yield Finding(_FLEET, Status.FAIL, error.message, "ray start --head --port 6379, or mend fleet.ray.address")
    except ImportError:
        yield Finding(_FLEET, Status.FAIL, "Ray is not installed here", "pip install 'enginehouse[ray]'")
    else:
        yield from judge_fleet(nodes, models, autoscale=settings.autoscale)


async def _surveyed(settings: FleetSettings) -> Sequence[Surveyed]:
    await _reach(settings.ray.address)
    from enginehouse.residency.fleet.cluster import join, leave
    from enginehouse.residency.fleet.grid import survey

    await join(settings)
    try:
        return await survey()
    finally:
        await leave()


async def _reach(address: str) -> None:
    """An address that is none, such as `auto`, is left to Ray."""
    host, _, port = address.rpartition(":")
    if not (host and port.isdecimal()):
        return
    try:
        async with asyncio.timeout(PATIENCE):
            _, writer = await asyncio.open_connection(host.strip("[]"), int(port))
    except (TimeoutError, OSError) as error:
        why = "no answer" if isinstance(error, TimeoutError) else error.strerror or type(error).__name__
        raise SettingsError(f"nobody takes a connection at fleet.ray.address {address!r} ({why})") from error
    writer.close()


def judge_fleet(nodes: Sequence[Surveyed], models: Iterable[Model], *, autoscale: bool) -> Iterator[Finding]:
    """The nodes as they say they are, against what the models want of them.

    Args:
        autoscale: whether nodes may come when they are wanted.
    """
    engines = [node for node in nodes if node.takes_engines]
    yield from _unable(nodes)
    if not engines and not autoscale:
        remedy = "Add nodes with memory to give (ray start --memory), without the label enginehouse=off."
        yield Finding(_FLEET, Status.FAIL, f"{_count(len(nodes), 'node')}, and none takes engines", remedy)
        return
    yield from _unhoused(engines, models, autoscale=autoscale)
    detail = f"{_count(len(nodes), 'node')}, {len(engines)} for engines"
    yield Finding(_FLEET, Status.OK, f"{detail}, {sum(node.ram for node in engines) / 1e9:.1f} GB of memory")


def _unable(nodes: Sequence[Surveyed]) -> Iterator[Finding]:
    """Nodes that are of another version, cannot be asked, or hold engines back."""
    for node in nodes:
        if node.version is None:
            remedy = f"Install Enginehouse {__version__} there, for the same Python."
            yield Finding(_FLEET, Status.FAIL, f"{node.host} could not be asked: {node.fault}", remedy)
        elif node.version != __version__:
            detail = f"{node.host} has Enginehouse {node.version}, here is {__version__}"
            yield Finding(_FLEET, Status.FAIL, detail, "Install the same version on every node and replica.")
        elif node.niceness > 0 and node.takes_engines:
            detail = f"engines on {node.host} run at niceness {node.niceness}, behind everything else there"
            yield Finding(_FLEET, Status.WARN, detail, "RAY_worker_niceness=0 ray start … on that node")


def _unhoused(nodes: Sequence[Surveyed], models: Iterable[Model], *, autoscale: bool) -> Iterator[Finding]:
    """Models whose labels no node has."""
    wanted: defaultdict[tuple[tuple[str, str], ...], list[str]] = defaultdict(list)
    for model in models:
        for place in model.deployments:
            if place.engine in FLEET_ENGINES:
                wanted[tuple(sorted(place.labels))].append(model.id)
    for labels, ids in wanted.items():
        if labels and not any(all(node.labels.get(name) == value for name, value in labels) for node in nodes):
            said = ",".join(f"{name}={value}" for name, value in labels)
            detail = f"no node has the labels {said} that {', '.join(ids)} want{'s' if len(ids) == 1 else ''}"
            if autoscale:
                yield Finding(_FLEET, Status.WARN, detail, "See that the autoscaler has such nodes to add.")
            else:
                yield Finding(_FLEET, Status.FAIL, detail, f"ray start --labels {said} … on a node")


def _count(number: int, what: str) -> str:
    return f"{number} {what}{'' if number == 1 else 's'}"
