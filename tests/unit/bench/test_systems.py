"""The gateway's settings for a run are settings that it takes."""

from pathlib import Path

from bench.peers import PEERS
from bench.prototypes import PROTOTYPES
from bench.systems import YARDSTICK, configuration, gateway_names
from enginehouse.settings.schema import Settings


def test_the_configuration_is_valid_and_points_to_the_mock():
    settings = Settings.model_validate(configuration(8123, 9123, ["mock", "mock-c64"], Path("/nowhere")))
    assert settings.server.port == 8123
    assert not settings.default_models
    assert {model.base_url for model in settings.models.values()} == {"http://127.0.0.1:9123/v1"}
    assert list(settings.models) == ["mock", "mock-c64"]


def test_with_everything_on_callers_are_known_and_counted():
    settings = Settings.model_validate(configuration(8123, 9123, ["mock"], Path("/nowhere"), full=True))
    assert settings.auth.api_keys
    assert settings.cache.enabled
    assert "admin" in settings.limits.tiers


def test_every_prototype_can_be_named():
    assert YARDSTICK in gateway_names()
    assert len(gateway_names()) == 3 + len(PROTOTYPES) + len(PEERS)
