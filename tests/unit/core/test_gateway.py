"""What the configuration adds to a request on its way to the engine."""

import asyncio

import msgspec

from enginehouse.core.admission import Admission
from enginehouse.core.catalogue import Catalogue, from_settings
from enginehouse.core.gateway import Gateway
from enginehouse.residency.manager import Residency
from enginehouse.settings.schema import AdmissionSettings, ResidencySettings, Settings
from enginehouse.testing import FakeEngine, FakeLauncher
from enginehouse.types import EngineName, Operation, Principal, Request, Timings

BODY = b'{"model":"m","messages":[],"temperature":0.25}'


def sent(body=BODY, **stated):
    """What reaches the engine of a model with these settings."""
    settings = Settings.model_validate({"models": {"m": {"base_url": "http://127.0.0.1:9", **stated}}})
    engine = FakeEngine([b"{}"])

    async def main():
        request = Request(
            operation=Operation.CHAT,
            model="m",
            principal=Principal(user="u"),
            request_id="r",
            body=body,
            timings=Timings(),
        )
        launchers = {EngineName.OPENAI: FakeLauncher(engine, load_seconds=0)}
        async with Residency(launchers, ResidencySettings()) as residency:
            gateway = Gateway(Catalogue(from_settings(settings)), Admission(AdmissionSettings()), residency)
            async with gateway.seat(request) as seat, gateway.forward(request, seat):
                pass

    asyncio.run(main())
    return engine.calls[0].body


def test_a_body_that_needs_nothing_is_the_same_to_the_byte():
    assert sent() == BODY


def test_the_engine_hears_its_own_name_for_the_model():
    assert msgspec.json.decode(sent(upstream_model="gpt-4"))["model"] == "gpt-4"


def test_parameters_nobody_gave_come_from_the_configuration():
    got = msgspec.json.decode(sent(defaults={"temperature": 0.9, "max_tokens": 7}))
    assert (got["temperature"], got["max_tokens"]) == (0.25, 7)


def test_a_server_elsewhere_runs_many_at_once():
    settings = Settings.model_validate({"models": {"m": {"base_url": "http://127.0.0.1:9"}}})
    model = Catalogue(from_settings(settings)).resolve("m")
    assert model.deployments[0].slots > 100
