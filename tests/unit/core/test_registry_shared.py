"""Registered models that several replicas keep together."""

import asyncio
from contextlib import asynccontextmanager

import pytest

from enginehouse.core.admission import Admission
from enginehouse.core.catalogue import Catalogue
from enginehouse.core.copies import Copies
from enginehouse.core.listing import Listing
from enginehouse.core.registration import Registry, RegistryFile, SharedRow
from enginehouse.core.registration.registry import Wishes
from enginehouse.errors import Conflict, StoreUnavailable
from enginehouse.residency.manager import Residency
from enginehouse.settings.schema import AdmissionSettings, ResidencySettings, Settings
from enginehouse.stores.sql import database_url, migrate, open_database

SETTINGS = Settings.model_validate({"default_models": False})
ENTRY = {"source": "pypi:pack==1/file.gguf"}


async def here(work, *args):
    return work(*args)


class Replica:
    """A registry of its own folder, and the list that it keeps."""

    def __init__(self, database, folder):
        self.file = RegistryFile(folder / "registered-models.json")
        self.catalogue = Catalogue(())
        residency = Residency({}, ResidencySettings())
        copies = Copies(Admission(AdmissionSettings()), residency, ResidencySettings())
        listing = Listing(self.catalogue, residency, copies, lambda _: None)
        shared = SharedRow(database, self.file, here)
        self.registry = Registry(
            self.file, listing, SETTINGS, lambda source, sha256: None, aside=here, shared=shared
        )

    def names(self):
        return {model.id for model in self.catalogue.models()}

    async def register(self, id_):
        return await self.registry.register(id_, ENTRY, Wishes())


@asynccontextmanager
async def replicas(folder, number=2, kept=()):
    """So many on one database; the first has these models in a file of its own."""
    async with open_database(database_url("", folder)) as database:
        await migrate(database)
        found = []
        for at in range(number):
            (folder / str(at)).mkdir()
            found.append(Replica(database, folder / str(at)))
        if kept:
            found[0].file.write(dict.fromkeys(kept, ENTRY))
        for replica in found:
            await replica.registry.open()
        yield found


async def followed(*replicas):
    """Each has looked once more."""
    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(replica.registry.follow()) for replica in replicas]
        await asyncio.sleep(0.6)
        for task in tasks:
            task.cancel()


async def test_what_one_registers_and_deletes_the_others_show_within_a_second(tmp_path):
    async with replicas(tmp_path) as (here_, there):
        await here_.register("a")
        await there.register("b")
        await followed(here_, there)
        assert here_.names() == there.names() == {"a", "b"}
        await there.registry.delete("a")
        await followed(here_)
        assert here_.names() == {"b"}
        assert not here_.file.path.exists()


async def test_a_change_is_done_on_top_of_what_others_have_changed_meanwhile(tmp_path):
    async with replicas(tmp_path, 3) as found:
        names = [f"m{number}" for number in range(12)]
        await asyncio.gather(*(found[at % 3].register(name) for at, name in enumerate(names)))
        await followed(*found)
        assert [replica.names() for replica in found] == [set(names)] * 3


async def test_an_id_is_registered_once_wherever_it_is_asked(tmp_path):
    async with replicas(tmp_path) as found:
        done = await asyncio.gather(*(replica.register("a") for replica in found), return_exceptions=True)
        assert sum(isinstance(one, Conflict) for one in done) == 1


async def test_what_a_replica_had_for_itself_becomes_everybodys(tmp_path):
    async with replicas(tmp_path, kept=["old"]) as (first, second):
        assert first.names() == second.names() == {"old"}
        await second.registry.delete("old")
        await followed(first)
        assert first.names() == set()


async def test_a_change_that_cannot_be_kept_is_taken_back(tmp_path):
    async with replicas(tmp_path) as (first, second):
        await first.register("a")

        async def away(work):
            raise StoreUnavailable("The database is away.")

        row = first.registry._kept
        row._database = type("Away", (), {"read": staticmethod(row._database.read), "write": staticmethod(away)})()
        with pytest.raises(StoreUnavailable):
            await first.register("b")
        assert first.names() == {"a"}
        await followed(second)
        assert second.names() == {"a"}
