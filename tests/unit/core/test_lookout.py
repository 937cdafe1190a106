"""How servers are, looked at beside the requests."""

import asyncio

import pytest

from enginehouse.core.catalogue import Catalogue, from_settings
from enginehouse.core.routes import Lookout, Routes
from enginehouse.engines.looking import Sight
from enginehouse.settings.schema import RoutingSettings, Settings
from enginehouse.testing import simulate

AWAY = Sight(trouble="gone")
THREE = {
    "engine": "ollama",
    "upstream_model": "llama:8b",
    "base_url": "http://a:11434",
    "deployments": [{"base_url": "http://b:11434"}, {"base_url": "http://c:11434"}],
}


class House:
    """Servers that answer a look as a test says; every look is counted."""

    def __init__(self, model=THREE, **routing):
        settings = Settings.model_validate({"models": {"m": model}, "default_models": False})
        self.now, self.sights, self.looks = 0.0, {}, []
        self.catalogue = Catalogue(from_settings(settings))
        self.model = self.catalogue.resolve("m")
        self.lookout = Lookout(self._look, lambda: self.now)
        rules = RoutingSettings(**routing)
        self.routes = Routes(self.catalogue, rules, lambda: self.now, lookout=self.lookout)

    async def _look(self, deployment, patience):
        host = deployment.base_url[7]
        self.looks.append((self.now, host))
        return self.sights.get(host, Sight())

    def review(self, seconds=0.0, **sights):
        """After so many seconds, with these sights from now on."""
        self.now += seconds
        self.sights |= sights
        simulate(self.lookout.review(self.catalogue.models(), 5.0))

    def pick(self, head=b""):
        return self.routes.pick(self.model, head=lambda: head).base_url[7]

    def ask(self, head=b"", *, times=1):
        """Whom so many requests, one after the other, are sent to."""
        asked = []
        for _ in range(times):
            deployment = self.routes.pick(self.model, head=lambda: head)
            with self.routes.visit(deployment):
                asked.append(deployment.base_url[7])
        return "".join(asked)


def loaded(*names):
    return Sight(loaded=frozenset(names))


def test_before_anybody_has_looked_all_are_well():
    assert House().ask(times=6) == "abcabc"


def test_a_server_that_does_not_answer_twice_in_a_row_is_passed_over_until_it_does():
    at = House()
    at.review(b=AWAY)
    assert at.ask(times=3) == "abc"
    at.review(1.0)
    assert at.ask(times=4) == "acac"
    at.review(5.0, b=Sight())
    assert "b" in at.ask(times=3)


def test_one_that_missed_once_and_answers_then_is_well():
    at = House()
    at.review(b=AWAY)
    at.review(1.0, b=Sight())
    at.review(5.0, b=AWAY)
    assert "b" in at.ask(times=3)


def test_when_all_are_away_they_are_asked_all_the_same():
    at = House()
    for _ in range(2):
        at.review(1.0, a=AWAY, b=AWAY, c=AWAY)
    assert sorted(at.ask(times=3)) == ["a", "b", "c"]


def test_servers_are_looked_at_in_turn_and_one_that_missed_soon_again():
    at = House()
    at.review(b=AWAY)
    at.review(0.5)
    at.review(0.5)
    at.review(4.0)
    assert at.looks == [
        *((0.0, host) for host in "abc"),
        (1.0, "b"),
        *((5.0, host) for host in "ac"),
    ]


def test_a_model_with_one_server_is_nobodys_choice_and_is_not_looked_at():
    at = House({"engine": "ollama", "base_url": "http://a:11434"})
    at.review()
    assert at.looks == []
    assert at.pick() == "a"


def test_who_has_the_model_in_memory_is_asked_until_it_is_busier_by_what_a_load_is_worth():
    at = House(cold_cost=3)
    at.review(a=loaded(), b=loaded("other:1b"), c=loaded("llama:8b"))
    assert at.ask(times=5) == "ccccc"
    visits = [at.routes.visit(at.model.deployments[2]) for _ in range(3)]
    for visit in visits:
        assert at.pick() == "c"
        visit.__enter__()
    assert at.pick() in "ab"
    for visit in visits:
        visit.__exit__(None, None, None)


def test_when_nobody_has_it_one_loads_it_and_is_asked_from_then_on():
    at = House()
    at.review(a=loaded(), b=loaded(), c=loaded())
    assert at.ask(times=4) == "aaaa"
    with at.routes.visit(at.model.deployments[0]):
        assert at.pick() == "a"
    at.review(5.0)  # it was unloaded there meanwhile
    assert at.pick() == "b"


def test_a_name_without_a_tag_means_the_latest():
    at = House({**THREE, "upstream_model": "llama"})
    at.review(a=loaded(), b=loaded("llama:latest"), c=loaded("llama:8b"))
    assert at.pick() == "b"


def test_a_conversation_is_sent_to_the_same_server_and_others_to_others():
    at = House()
    at.review(a=loaded("llama:8b"), b=loaded("llama:8b"), c=loaded("llama:8b"))
    homes = {head: set(at.ask(head, times=4)) for head in (b"1", b"2", b"3", b"4", b"5", b"6")}
    assert {len(home) for home in homes.values()} == {1}
    assert len(set.union(*homes.values())) > 1


def test_without_affinity_nobody_asks_what_a_conversation_begins_with():
    at = House(affinity=0)

    def head():
        raise AssertionError("nobody needs it")

    assert at.routes.pick(at.model, head=head).base_url[7] == "a"


def test_nor_where_there_is_no_choice():
    def head():
        raise AssertionError("nobody needs it")

    at = House({"engine": "ollama", "base_url": "http://a:11434"})
    assert at.routes.pick(at.model, head=head) is at.model.deployments[0]


def test_a_look_that_hangs_holds_up_no_other():
    started = []

    async def look(deployment, patience):
        started.append(deployment.base_url[7])
        await asyncio.sleep(patience if deployment.base_url[7] == "a" else 0)
        return Sight()

    async def main():
        lookout = Lookout(look, asyncio.get_running_loop().time)
        await lookout.review(House().catalogue.models(), 5.0)
        return asyncio.get_running_loop().time()

    assert simulate(main()) == pytest.approx(3.0)
    assert started == ["a", "b", "c"]
