"""What the configuration adds to a request on its way to the engine, and who goes first."""

import asyncio

import msgspec
import pytest

from enginehouse.core.catalogue import Catalogue, from_settings
from enginehouse.dialects.passing import with_defaults
from enginehouse.errors import PermissionDenied
from enginehouse.settings.schema import Settings
from enginehouse.testing import WHOLE, FakeEngine, FakeLauncher, simulate
from enginehouse.types import EngineName, Principal, Priority
from enginehouse.types.generation import Dialect
from tests.unit.core.way import BODY, ELSEWHERE, USER, answer, open_gateway, request


def sent(body=BODY, principal=USER, priority=Priority.NORMAL, **stated):
    """What reaches the engine of a model with these settings."""
    engine = FakeEngine([WHOLE])

    async def main():
        launchers = {EngineName.OPENAI: FakeLauncher(engine, load_seconds=0)}
        async with open_gateway({"m": {**ELSEWHERE, **stated}}, launchers) as gateway:
            assert await answer(gateway, request(body, principal=principal, priority=priority)) == WHOLE

    asyncio.run(main())
    return engine.calls[0].body


def test_a_body_that_needs_nothing_is_the_same_to_the_byte():
    assert sent() == BODY


def test_the_engine_hears_its_own_name_for_the_model():
    assert msgspec.json.decode(sent(upstream_model="gpt-4"))["model"] == "gpt-4"


def test_parameters_nobody_gave_come_from_the_configuration():
    got = msgspec.json.decode(sent(defaults={"temperature": 0.9, "max_tokens": 7}))
    assert (got["temperature"], got["max_tokens"]) == (0.25, 7)


def test_a_caller_who_says_how_long_an_answer_may_be_is_not_told_otherwise():
    body = BODY.replace(b'"temperature":0.25', b'"max_completion_tokens":5')
    got = msgspec.json.decode(sent(body, defaults={"max_tokens": 7}))
    assert "max_tokens" not in got


def test_ollamas_words_for_them_stand_among_its_options():
    fields = msgspec.json.decode(b'{"model":"m","options":{"top_p":0.5}}', type=dict[str, msgspec.Raw])
    defaults = {name: msgspec.Raw(b"0.25") for name in ("top_p", "max_tokens")}
    got = msgspec.json.decode(msgspec.json.encode(with_defaults(fields, Dialect.OLLAMA_CHAT, defaults)))
    assert got == {"model": "m", "options": {"top_p": 0.5, "num_predict": 0.25}}


def test_a_server_elsewhere_runs_many_at_once():
    settings = Settings.model_validate({"models": {"m": {"base_url": "http://127.0.0.1:9"}}})
    model = Catalogue(from_settings(settings)).resolve("m")
    assert model.deployments[0].slots > 100


def test_a_claim_to_go_first_wants_the_role():
    stranger = Principal(user="s", role="anonymous")
    with pytest.raises(PermissionDenied):
        sent(principal=stranger, priority=Priority.HIGH)
    assert sent(principal=stranger, priority=Priority.LOW) == BODY


@pytest.mark.parametrize(
    ("tenant", "urgent", "order"),
    [("", None, ["a1", "b1", "a2"]), ("team", None, ["a1", "a2", "b1"]), ("team", "b1", ["b1", "a1", "a2"])],
)
def test_who_shares_a_tenant_shares_turns_and_who_is_urgent_goes_first(tenant, urgent, order):
    """Requests of a tenant's users stand in one line; users without one take turns."""
    went = []
    engine = FakeEngine([1.0, WHOLE])

    async def call(gateway, name):
        principal = Principal(user=name[0], tenant=tenant)
        priority = Priority.HIGH if name == urgent else Priority.NORMAL
        await answer(gateway, request(principal=principal, priority=priority))
        went.append(name)

    async def main():
        launchers = {EngineName.OPENAI: FakeLauncher(engine, load_seconds=0)}
        async with open_gateway({"m": {**ELSEWHERE, "slots": 1}}, launchers) as gateway:
            await asyncio.gather(*(call(gateway, name) for name in ("x0", "a1", "a2", "b1")))

    simulate(main())
    assert went == ["x0", *order]
