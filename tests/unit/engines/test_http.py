"""What a server may send at most, and by which way it is asked."""

import asyncio
import ssl
from typing import ClassVar
from urllib.parse import urlsplit

import pytest

from enginehouse.engines.anthropic import AnthropicHttp
from enginehouse.engines.base import Carries
from enginehouse.engines.http import HttpReply
from enginehouse.engines.http.asking import host_of
from enginehouse.engines.http.server import is_plain
from enginehouse.engines.http.tls import refusal_of, trusted
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
    "root",
    [
        "http://127.0.0.1:8080",
        "http://localhost",
        "http://[::1]:1/below",
        "http://ollama.lan:11434",
        "https://api.example",
        "https://api.example:8443/below",
        "https://[::1]",
    ],
)
def test_plain_addresses_go_by_our_own_pool(root):
    assert is_plain(root)


@pytest.mark.parametrize(
    "root",
    [
        "https://user:word@api.example",
        "https://api.example.",
        "https://.example",
        "https://a..example",
        f"https://{'a' * 64}.example",
        "https://[fe80::1%25eth0]",
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
    assert OpenAIServer("https://h", None, silence=1).carrier(Dialect.OPENAI_CHAT)
    assert OpenAIServer("https://user:word@h", None, silence=1).carrier(Dialect.OPENAI_CHAT) is None
    assert LlamaServer("http://h", None, silence=1).carrier(Dialect.OPENAI_CHAT) is None
    assert not isinstance(AnthropicHttp("http://h", None, silence=1), Carries)


@pytest.mark.parametrize(
    ("root", "host"),
    [
        ("http://h", "h"),
        ("http://h:80/below", "h"),
        ("http://h:443", "h:443"),
        ("https://api.example:443/below", "api.example"),
        ("https://api.example:8443", "api.example:8443"),
        ("https://api.example:80", "api.example:80"),
        ("https://[::443]", "[::443]"),
        ("https://[::1]:443", "[::1]"),
        ("http://h:/below", "h"),
    ],
)
def test_a_host_is_called_by_its_name_and_by_a_port_that_is_not_the_usual(root, host):
    assert host_of(urlsplit(root)) == host


def test_all_connections_trust_alike_and_nobody_blindly():
    context = trusted()
    assert trusted() is context
    assert context.verify_mode is ssl.CERT_REQUIRED
    assert context.check_hostname
    assert context.minimum_version >= ssl.TLSVersion.TLSv1_2


@pytest.mark.parametrize("code", [2, 18, 19, 20, 21])
def test_who_is_not_trusted_can_be(code):
    said = refusal_of(_flawed(code)).message
    assert "(as OpenSSL has it); name a file with the issuer's certificate in SSL_CERT_FILE" in said


@pytest.mark.parametrize(
    ("code", "says"), [(9, "clock"), (10, "renew"), (62, "another name"), (64, "another address"), (66, "OpenSSL")]
)
def test_other_flaws_are_told(code, says):
    said = refusal_of(_flawed(code)).message
    assert says in said
    assert "SSL_CERT_FILE" not in said


@pytest.mark.parametrize("error", [ConnectionRefusedError(), ConnectionResetError(), OSError("no such name")])
def test_who_is_not_there_refuses(error):
    assert refusal_of(error).message == "The engine refused the connection."


def _flawed(code):
    error = ssl.SSLCertVerificationError(1, "certificate verify failed")
    error.verify_code, error.verify_message = code, "as OpenSSL has it"
    return error
