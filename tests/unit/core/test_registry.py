"""Registrations, patches, deletions and edits of the configuration in any order, against a simple model of them."""

import asyncio
import json
import tempfile
from pathlib import Path

import pytest
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule
from structlog.testing import capture_logs

from enginehouse.core.admission import Admission
from enginehouse.core.catalogue import Catalogue, from_settings
from enginehouse.core.copies import Copies
from enginehouse.core.listing import Listing
from enginehouse.core.registration import Registry, RegistryFile
from enginehouse.core.registration.registry import Wishes
from enginehouse.errors import Conflict, EnginehouseError, InvalidRequest, ModelNotFound
from enginehouse.residency.manager import Residency
from enginehouse.settings.schema import AdmissionSettings, ResidencySettings, Settings

FILE = "pypi:pkg==1/m.gguf"
IDS = ["a", "b", "a@1", "a@2", "b@9"]
NAMES = [*IDS, "x", "y"]
aliases = st.lists(st.sampled_from(NAMES), max_size=2, unique=True)


async def here(work, *args):
    return work(*args)


class Place:
    """A registry on a folder, and the configuration beside it."""

    def __init__(self, folder, configured=()):
        self.file = RegistryFile(folder / "models.json")
        self.settings = stated(configured)
        self.open()

    def open(self):
        self.catalogue = Catalogue(from_settings(self.settings))
        residency = Residency({}, ResidencySettings())
        copies = Copies(Admission(AdmissionSettings()), residency, ResidencySettings())
        listing = Listing(self.catalogue, residency, copies, lambda _: None)
        self.listing = listing
        self.registry = Registry(self.file, listing, self.settings, lambda source, sha256: None, aside=here)
        run(self.registry.open())

    def configure(self, configured):
        self.settings = stated(configured)
        self.listing.replace("settings", from_settings(self.settings))
        run(self.registry.adopt(self.settings))

    def kept(self):
        return self.file.read()


def stated(configured):
    models = {id_: {"source": FILE, "aliases": names} for id_, names in dict(configured).items()}
    return Settings.model_validate({"models": models, "default_models": False})


def run(work):
    return asyncio.run(work)


def entry(names=(), **more):
    return {"source": FILE, "aliases": list(names), **more}


class Registrations(RuleBasedStateMachine):
    """What must be: two tables, one registered and one configured; names of the second are not to be had."""

    def __init__(self):
        super().__init__()
        self.folder = tempfile.TemporaryDirectory()
        self.place = Place(Path(self.folder.name))
        self.registered: dict[str, set] = {}
        self.configured: dict[str, list] = {}

    def teardown(self):
        self.folder.cleanup()

    def taken(self):
        return {name for id_, names in self.configured.items() for name in (id_, *names)}

    def outcome(self, id_, names, move):
        """None when it is refused, else the table after it."""
        wanted = {id_, *names}
        after = {other: set(others) for other, others in self.registered.items() if other != id_}
        for other, others in after.items():
            if other in wanted or id_ in others or (not move and others & wanted):
                return None
            others.difference_update(wanted)
        return None if wanted & self.taken() else {**after, id_: set(names)}

    @rule(id_=st.sampled_from(IDS), names=aliases, move=st.booleans())
    def register(self, id_, names, move):
        wanted = None if id_ in self.registered else self.outcome(id_, names, move)
        work = self.place.registry.register(id_, entry(names), Wishes(move_aliases=move))
        self.check(work, wanted)

    @rule(id_=st.sampled_from(IDS), names=aliases, move=st.booleans())
    def patch(self, id_, names, move):
        wanted = self.outcome(id_, names, move) if id_ in self.registered else None
        self.check(self.place.registry.patch(id_, {"aliases": names}, Wishes(move_aliases=move)), wanted)

    @rule(id_=st.sampled_from(IDS))
    def delete(self, id_):
        possible = id_ in self.registered and id_ not in self.configured
        after = {other: names for other, names in self.registered.items() if other != id_}
        self.check(self.place.registry.delete(id_), after if possible else None)

    def check(self, work, after):
        if after is None:
            with pytest.raises((Conflict, InvalidRequest, ModelNotFound)):
                run(work)
        else:
            run(work)
            self.registered = after

    @rule(edit=st.dictionaries(st.sampled_from(IDS), st.lists(st.sampled_from(NAMES), max_size=1), max_size=2))
    def configure(self, edit):
        names = [name for id_, others in edit.items() for name in {id_, *others}]
        if len(names) == len(set(names)):
            self.place.configure(edit)
            self.configured = edit

    @rule()
    def restart(self):
        self.place.open()

    @invariant()
    def the_list_is_what_must_be(self):
        taken = self.taken()
        shown = {model.id: model.origin for model in self.place.catalogue.models()}
        assert {id_ for id_, origin in shown.items() if origin == "settings"} == self.configured.keys()
        visible = {id_ for id_ in self.registered if id_ not in taken}
        assert {id_ for id_, origin in shown.items() if origin == "api"} == visible
        for id_ in visible:
            assert self.place.catalogue.resolve(id_).id == id_
            for name in self.registered[id_] - taken:
                assert self.place.catalogue.resolve(name).id == id_
        for id_, names in self.configured.items():
            assert {self.place.catalogue.resolve(name).id for name in (id_, *names)} == {id_}

    @invariant()
    def the_disk_is_what_must_be(self):
        kept = {id_: set(found["aliases"]) for id_, found in self.place.kept().items()}
        assert kept == self.registered


TestRegistrations = Registrations.TestCase
TestRegistrations.settings = hypothesis_settings(max_examples=60, stateful_step_count=20, deadline=None)


def test_an_entry_that_may_no_longer_be_is_hidden_told_once_and_kept(tmp_path):
    file = tmp_path / "models.json"
    entries = {
        "bad": {"sorce": "x"},
        "url": {"base_url": "http://h/v1"},
        "worse": 5,
        "good": entry(),
        "load": entry(),
    }
    file.write_text(json.dumps({"models": entries}))
    with capture_logs() as logs:
        place = Place(tmp_path)
        place.configure({})
    assert [model.id for model in place.catalogue.models()] == ["good"]
    told = [line["model"] for line in logs if line["event"] == "registered_model_not_shown"]
    assert sorted(told) == ["bad", "load", "url", "worse"]
    run(place.registry.register("new", entry(), Wishes()))
    assert place.kept().keys() == {*entries, "new"}
    run(place.registry.patch("bad", {"sorce": None, "source": FILE}, Wishes()))
    assert place.catalogue.resolve("bad")
    run(place.registry.delete("worse"))
    assert "worse" not in place.kept()


def test_a_change_that_cannot_be_kept_is_taken_back(tmp_path):
    place = Place(tmp_path)
    run(place.registry.register("a@1", entry(["x"]), Wishes()))
    place.file.path = tmp_path / "models.json" / "below"  # a file stands where the folder should be
    for work in (
        place.registry.register("a@2", entry(["x"]), Wishes(move_aliases=True)),
        place.registry.patch("a@1", {"aliases": []}, Wishes()),
        place.registry.delete("a@1"),
    ):
        with pytest.raises(EnginehouseError, match="cannot be kept"):
            run(work)
    assert place.catalogue.resolve("x").id == "a@1"
    assert [model.id for model in place.catalogue.models()] == ["a@1"]
    place.file.path = tmp_path / "models.json"
    assert place.kept() == {"a@1": entry(["x"])}
    run(place.registry.register("b", entry(), Wishes()))
    assert place.kept().keys() == {"a@1", "b"}


def test_changes_at_the_same_time_are_one_after_the_other(tmp_path):
    place = Place(tmp_path)

    async def pausing(work, *args):
        await asyncio.sleep(0)
        return work(*args)

    registry = Registry(place.file, place.listing, place.settings, lambda source, sha256: None, aside=pausing)

    async def both():
        works = [registry.register(f"m@{n}", entry(["prod"]), Wishes(move_aliases=True)) for n in range(20)]
        await asyncio.gather(*works, registry.adopt(place.settings))

    run(both())
    assert len(place.kept()) == 20
    assert [id_ for id_, found in place.kept().items() if found["aliases"]] == ["m@19"]
    assert place.catalogue.resolve("prod").id == "m@19"


def test_what_the_configuration_hides_is_neither_patched_nor_deleted(tmp_path):
    place = Place(tmp_path)
    run(place.registry.register("a", entry(), Wishes()))
    place.configure({"a": []})
    for work in (place.registry.delete("a"), place.registry.patch("a", {"name": "x"}, Wishes())):
        with pytest.raises(Conflict, match="configuration"):
            run(work)
    place.configure({})
    assert place.catalogue.resolve("a").origin == "api"
