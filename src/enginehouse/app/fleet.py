"""The fleet that engines run on, where the settings name one."""

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from uuid import uuid4

from enginehouse.errors import SettingsError
from enginehouse.residency.fleet.keeper import Outfit
from enginehouse.residency.fleet.replica import FleetLauncher
from enginehouse.residency.launchers.llama import connecting
from enginehouse.settings.schema import Settings

__all__ = ["open_fleet"]


@asynccontextmanager
async def open_fleet(settings: Settings) -> AsyncGenerator[FleetLauncher | None]:
    """Join it; None when engines run on this machine. Leaving gives back what is held, and leaves the rest running.

    Raises:
        SettingsError: there is no such cluster, or Ray is not installed.
    """
    if settings.fleet.placement == "local":
        yield None
        return
    try:
        from enginehouse.residency.fleet.cluster import leave, open_line
    except ImportError as error:
        raise SettingsError("fleet.placement: ray wants Ray: pip install 'enginehouse[ray]'.") from error
    silence = settings.admission.request_timeout
    outfit = Outfit(
        data_dir=settings.data_dir.absolute(),
        sources=settings.sources,
        binary=settings.engines.llama_server.path,
        gpus=settings.engines.llama_server.gpu_devices,
        silence=silence,
        grace=settings.residency.stop_grace,
        orphan_timeout=settings.fleet.orphan_timeout,
    )
    line = await open_line(outfit, settings.residency, settings.fleet)
    try:
        async with FleetLauncher(line, connecting(silence), uuid4().hex) as fleet:
            yield fleet
    finally:
        await leave()
