"""What Ollama servers say of their models, and what the catalogue makes of it."""

import asyncio
from contextlib import asynccontextmanager
from itertools import pairwise

import pytest
from structlog.testing import capture_logs

from enginehouse.core.catalogue import Catalogue, from_settings
from enginehouse.core.catalogue.servers import INTERVAL, LONGEST_PAUSE, OllamaServers
from enginehouse.engines.ollama import Known, Shown
from enginehouse.errors import UpstreamDied, UpstreamRefused, UpstreamTimeout
from enginehouse.settings import Settings
from enginehouse.types import Kind

HERE = "http://here:11434"
CHAT = Shown(capabilities=("completion", "tools", "vision"), context_length=8192)
EMBEDDER = Shown(capabilities=("embedding",), context_length=512)


class World:
    """Servers by address, each with its models; `failure` is what all of them answer instead."""

    def __init__(self, models=None, **settings):
        self.has = {HERE: {}}
        self.failure = None
        self.asked = []
        self.now = 0.0
        self.servers = OllamaServers(self.connect, lambda: self.now, started=7)
        self.settings = Settings.model_validate({"default_models": False, "models": models or {}, **settings})
        self.catalogue = Catalogue(from_settings(self.settings))

    @asynccontextmanager
    async def connect(self, deployment, silence):
        assert 0 < silence < 60
        self.place = deployment
        yield self

    async def tags(self):
        self.asked.append("tags")
        if self.failure:
            raise self.failure
        return tuple(Known(name=name, digest=digest) for name, (digest, _) in self.has[self.place.base_url].items())

    async def show(self):
        self.asked.append(self.place.name_there)
        has = self.has[self.place.base_url]
        said = has.get(self.place.name_there) or has[f"{self.place.name_there}:latest"]
        if isinstance(said[1], Exception):
            raise said[1]
        return said[1]

    def turn(self, seconds=INTERVAL):
        """What the side task does, later; returns what was asked."""
        self.now += seconds
        self.asked.clear()
        if asyncio.run(self.servers.ask(self.settings, self.catalogue.models())):
            self.change = self.catalogue.replace("settings", from_settings(self.settings, facts=self.servers.facts))
        self.catalogue.replace("ollama", self.servers.offered(self.settings))
        return self.asked

    def told(self):
        return {
            model.id: (model.kind, model.context_length, model.capabilities) for model in self.catalogue.models()
        }


def entry(**stated):
    return {"engine": "ollama", "base_url": HERE, **stated}


def test_what_a_server_says_counts_and_leaves_running_models_alone():
    world = World({"far": entry(upstream_model="m:1b")})
    before = world.catalogue.resolve("far")
    world.has[HERE]["m:1b"] = ("d", CHAT)
    world.turn()
    after = world.catalogue.resolve("far")
    assert world.change.changed == ("far",)
    assert after.capabilities == ("chat", "completion", "json_schema", "tools", "vision")
    assert after.context_length == 8192
    assert after.deployments == before.deployments, "else what runs would drain"


def test_settings_have_the_last_word():
    world = World(
        {
            "a": entry(upstream_model="m", context_length=100, capabilities=["mine"]),
            "b": entry(upstream_model="m", kind="embedding"),
        }
    )
    world.has[HERE]["m:latest"] = ("d", CHAT)
    world.turn()
    assert world.told()["a"] == (Kind.CHAT, 100, ("mine",))
    assert world.told()["b"] == (Kind.EMBEDDING, 8192, ("embedding",))


def test_an_embedder_is_known_as_one():
    world = World({"vec": entry()})
    world.has[HERE]["vec:latest"] = ("d", EMBEDDER)
    world.turn()
    assert world.told()["vec"] == (Kind.EMBEDDING, 512, ("embedding",))


def test_a_model_is_described_once_for_as_long_as_it_is_the_same():
    world = World({"far": entry(upstream_model="m")})
    assert world.turn() == ["tags"]
    world.has[HERE]["m"] = ("d1", CHAT)
    assert world.turn(1) == []
    assert world.turn() == ["tags", "m"]
    assert world.turn() == ["tags"]
    world.has[HERE]["m"] = ("d2", Shown(capabilities=("completion",), context_length=1))
    assert world.turn() == ["tags", "m"]
    assert world.told()["far"] == (Kind.CHAT, 1, ("chat", "completion", "json_schema"))


def test_a_new_entry_is_asked_about_at_once():
    world = World({"a": entry()})
    world.has[HERE] = {"a": ("d", CHAT), "b": ("d", EMBEDDER)}
    world.turn()
    world.settings = Settings.model_validate({"default_models": False, "models": {"a": entry(), "b": entry()}})
    world.catalogue.replace("settings", from_settings(world.settings))
    assert world.turn(1) == ["tags", "b"]


@pytest.mark.parametrize(
    "failure", [UpstreamDied("gone"), UpstreamTimeout("silent"), UpstreamRefused("no", status=500)]
)
def test_a_server_that_is_away_is_told_once_and_asked_ever_less(failure):
    world = World({"a": entry()})
    world.has[HERE]["a"] = ("d", CHAT)
    world.turn()
    known, world.failure = world.told(), failure
    with capture_logs() as logs:
        tries = [second for second in range(3600) if world.turn(1)]
    gaps = [later - sooner for sooner, later in pairwise(tries)]
    assert gaps[:3] == [5, 10, 20]
    assert gaps[-1] == max(gaps) == LONGEST_PAUSE
    assert [line["event"] for line in logs] == ["ollama_server_away"]
    assert world.told() == known
    world.failure = None
    with capture_logs() as logs:
        world.turn(LONGEST_PAUSE)
    assert [line["event"] for line in logs] == ["ollama_server_back"]
    assert world.turn(INTERVAL - 1) == []
    assert world.turn(1) == ["tags"]


def test_one_that_cannot_be_described_keeps_nobody_back():
    world = World({"a": entry(), "b": entry()})
    world.has[HERE] = {"a": ("d", UpstreamRefused("broken", status=500)), "b": ("d", CHAT)}
    world.turn()
    assert world.told()["a"] == (Kind.CHAT, None, ("chat",))
    assert world.told()["b"][1] == 8192
    world.has[HERE]["a"] = ("d", EMBEDDER)
    world.turn()
    assert world.told()["a"][0] is Kind.EMBEDDING


def test_everything_a_server_has_is_found_and_goes_with_it():
    world = World({"other": entry()}, ollama={"base_url": HERE, "api_key": "secret"})
    world.has[HERE] = {"m:1b": ("d", CHAT), "vec:latest": ("d", EMBEDDER)}
    world.turn()
    assert world.turn(1) == []
    assert world.told()["m:1b"][1] == 8192
    assert world.told()["vec:latest"] == (Kind.EMBEDDING, 512, ("embedding",))
    found = world.catalogue.resolve("vec")
    assert (found.origin, found.created, found.deployments[0].name_there) == ("ollama", 7, "vec:latest")
    assert (found.deployments[0].base_url, found.deployments[0].api_key) == (HERE, "secret")
    del world.has[HERE]["m:1b"]
    world.turn()
    assert set(world.told()) == {"other", "vec:latest"}
    world.failure = UpstreamDied("gone")
    world.turn()
    assert set(world.told()) == {"other", "vec:latest"}


def test_names_of_the_settings_win_and_names_that_are_none_are_passed_over():
    world = World({"m:1b": entry(context_length=5), "vec": entry(upstream_model="x")}, ollama={"base_url": HERE})
    world.has[HERE] = dict.fromkeys(("m:1b", "vec:latest", "a/load", "x:latest", "x"), ("d", CHAT))
    with capture_logs() as logs:
        world.turn()
        world.turn()
    assert set(world.told()) == {"m:1b", "vec", "vec:latest", "x:latest", "x"}
    assert world.told()["m:1b"][1] == 5
    assert world.catalogue.resolve("vec").origin == "settings"
    assert [line["model"] for line in logs if line["event"] == "model_not_shown"] == ["a/load"]


@pytest.mark.parametrize(
    ("section", "found"),
    [
        ({}, False),
        ({"base_url": HERE}, True),
        ({"base_url": HERE, "discover": False}, False),
        ({"discover": True}, False),
    ],
)
def test_models_are_looked_for_where_an_address_is_given_and_it_is_wanted(section, found):
    world = World(ollama=section)
    world.has = {address: {"m": ("d", CHAT)} for address in (HERE, "http://127.0.0.1:11434")}
    world.turn()
    assert (set(world.told()) == {"m"}) is found
    assert bool(world.asked) is found
    world.settings = Settings.model_validate({"default_models": False, "ollama": {"discover": False}})
    world.turn()
    assert not world.told()
