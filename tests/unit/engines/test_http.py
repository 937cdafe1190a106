"""What a server may send at most, and by which way it is asked."""

import asyncio
from typing import ClassVar

import pytest

from enginehouse.engines.anthropic import AnthropicHttp
from enginehouse.engines.base import Carries
from enginehouse.engines.http import HttpReply
from enginehouse.engines.http.server import is_plain
from enginehouse.engines.llama_server.client import LlamaServer
from enginehouse.engines.openai import OpenAIServer
from enginehouse.errors import UpstreamDied
from enginehouse.types.generation import Dialect

CHUNK = bytes(16 * 1024 * 1024)


class Told(HttpReply):
    """A reply of so many chunks."""

    status = 200
    headers: ClassVar = {}

    def __init__(self, chunks):
        self._chunks = chunks

    async def frames(self):
        for _ in range(self._chunks):
            yield CHUNK

    def leave(self):
        pass


def read(chunks):
    return asyncio.run(Told(chunks).read())


def test_a_body_is_read_whole():
    assert read(2) == CHUNK * 2


def test_a_body_without_end_is_not_kept():
    with pytest.raises(UpstreamDied, match="256 MiB"):
        read(10_000)


@pytest.mark.parametrize(
    "root", ["http://127.0.0.1:8080", "http://localhost", "http://[::1]:1/below", "http://ollama.lan:11434"]
)
def test_plain_addresses_go_by_our_own_pool(root):
    assert is_plain(root)


@pytest.mark.parametrize(
    "root",
    [
        "https://api.example",
        "http://user:word@host",
        "http://bücher.example",
        "http://host/?key=1",
        "http://host#part",
        "http://host:port",
        "http://host:99999",
        "http://ho st",
        "http://",
        "host:80",
        "unix:///run/engine",
    ],
)
def test_others_by_the_library(root):
    assert not is_plain(root)


def test_who_carries():
    """Only what goes to the server as it is and comes back as it is, over connections that are kept."""
    server = OpenAIServer("http://h", "key", silence=1)
    assert isinstance(server, Carries)
    assert server.carrier(Dialect.OPENAI_CHAT)
    assert server.carrier(Dialect.OPENAI_COMPLETIONS)
    assert server.carrier(Dialect.ANTHROPIC_MESSAGES) is None
    assert OpenAIServer("http://h", None, silence=1, keep_alive=False).carrier(Dialect.OPENAI_CHAT) is None
    assert OpenAIServer("https://h", None, silence=1).carrier(Dialect.OPENAI_CHAT) is None
    assert LlamaServer("http://h", None, silence=1).carrier(Dialect.OPENAI_CHAT) is None
    assert not isinstance(AnthropicHttp("http://h", None, silence=1), Carries)
