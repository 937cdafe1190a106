"""What connects to servers elsewhere. How an installed package adds a provider: `integration/test_provider.py`."""

import pytest

from enginehouse.engines.anthropic import AnthropicHttp
from enginehouse.engines.base import Lists
from enginehouse.engines.openai import OpenAIServer
from enginehouse.engines.providers import connect_of
from enginehouse.errors import ModelLoadFailed
from enginehouse.types import Deployment, EngineName, Kind

ELSEWHERE = [name for name in EngineName if not name.here]


def deployment(engine, base_url: str | None = "http://127.0.0.1:9"):
    return Deployment(id="m", model="m", kind=Kind.CHAT, engine=engine, base_url=base_url)


def test_three_of_our_engines_are_elsewhere():
    assert ELSEWHERE == [EngineName.OLLAMA, EngineName.OPENAI, EngineName.ANTHROPIC]


@pytest.mark.parametrize(("name", "kind"), [("openai", OpenAIServer), ("anthropic", AnthropicHttp)])
def test_a_provider_makes_its_engine(name, kind):
    engine = connect_of(EngineName(name))(deployment(EngineName(name)), 5.0)
    assert isinstance(engine, kind)
    assert isinstance(engine, Lists)


@pytest.mark.parametrize("name", ELSEWHERE)
async def test_a_server_at_no_place_is_not_connected_to(name):
    with pytest.raises(ModelLoadFailed, match=f"base_url.*section {name.value}"):
        async with connect_of(name)(deployment(name, None), 5.0):
            pass


def test_a_name_that_nobody_has_is_no_engine():
    with pytest.raises(ValueError, match="nobody"):
        EngineName("nobody")


def test_what_runs_here_has_no_provider():
    with pytest.raises(ModelLoadFailed, match="onnx"):
        connect_of(EngineName.ONNX)
